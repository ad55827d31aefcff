import { QuantloomError } from '../spec';
import type { ModelShape, RotaryScaling } from './architecture';

type Config = Readonly<Record<string, unknown>>;

/** Fields whose presence changes the forward pass in a way that is not implemented here, with the values that are harmless. */
const REFUSED: readonly { field: string; harmless: readonly unknown[]; feature: string }[] = [
  { field: 'hidden_act', harmless: ['silu'], feature: 'the activation function' },
  { field: 'pretraining_tp', harmless: [1], feature: 'tensor-parallel slicing' },
  { field: 'partial_rotary_factor', harmless: [1], feature: 'partial rotary embedding' },
  { field: 'num_local_experts', harmless: [0], feature: 'mixture of experts' },
  { field: 'num_experts', harmless: [0], feature: 'mixture of experts' },
  { field: 'n_routed_experts', harmless: [0], feature: 'mixture of experts' },
];

/**
 * Reads the shape of a Llama-type model. Fields that config.json may leave out have the defaults of `LlamaConfig` in
 * transformers: `num_key_value_heads` = heads, `head_dim` = hidden / heads, `rms_norm_eps` 1e-6, `rope_theta` 10000,
 * `max_position_embeddings` 2048, `tie_word_embeddings` false.
 *
 * @throws QuantloomError InvalidModel naming a field that is missing or makes no sense; UnsupportedArchitecture naming a feature.
 */
export function llamaShape(config: Config): ModelShape {
  refuseUnsupportedFeatures(config);
  const hiddenSize = size(config, 'hidden_size');
  const heads = size(config, 'num_attention_heads');
  const keyValueHeads = size(config, 'num_key_value_heads', heads);
  const headSize = size(config, 'head_dim', hiddenSize / heads);
  if (heads % keyValueHeads !== 0) {
    throw invalid('num_key_value_heads', keyValueHeads, `a divisor of num_attention_heads (${heads})`);
  }
  if (headSize % 2 !== 0) throw invalid('head_dim', headSize, 'an even number: rotary embedding turns pairs');
  const maxPositions = size(config, 'max_position_embeddings', 2048);
  return {
    layers: size(config, 'num_hidden_layers'),
    hiddenSize,
    intermediateSize: size(config, 'intermediate_size'),
    heads,
    keyValueHeads,
    headSize,
    vocabularySize: size(config, 'vocab_size'),
    maxPositions,
    normEpsilon: positive(config, 'rms_norm_eps', 1e-6),
    rotary: rotary(config, maxPositions),
    tiedHead: config.tie_word_embeddings === true,
  };
}

function refuseUnsupportedFeatures(config: Config): void {
  for (const { field, harmless, feature } of REFUSED) {
    const value = config[field];
    if (value === undefined || value === null || harmless.includes(value)) continue;
    throw unsupported(`${feature} (config.json: ${field} = ${JSON.stringify(value)})`, `${field} = ${harmless[0]}`);
  }
  const window = config.sliding_window;
  if (window !== undefined && window !== null && config.use_sliding_window !== false) {
    throw unsupported(`sliding-window attention (config.json: sliding_window = ${JSON.stringify(window)})`, 'none');
  }
}

/** transformers 5 writes `rope_parameters`; before, `rope_theta` stood beside an optional `rope_scaling`. */
function rotary(config: Config, maxPositions: number): RotaryScaling {
  const field = isObject(config.rope_parameters) ? 'rope_parameters' : 'rope_scaling';
  const scaling = isObject(config[field]) ? config[field] : {};
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  if (type !== 'default' && type !== 'llama3') {
    throw unsupported(`rope type ${JSON.stringify(type)} (config.json: ${field})`, 'default, llama3');
  }
  const partial = scaling.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    throw unsupported(`partial rotary embedding (config.json: ${field}.partial_rotary_factor = ${partial})`, '1');
  }
  const theta = positive(scaling, 'rope_theta', positive(config, 'rope_theta', 10000), `${field}.`);
  if (type === 'default') return { theta, llama3: null };
  const prefix = `${field}.`;
  const lowFrequencyFactor = positive(scaling, 'low_freq_factor', undefined, prefix);
  const highFrequencyFactor = positive(scaling, 'high_freq_factor', undefined, prefix);
  if (highFrequencyFactor <= lowFrequencyFactor) {
    throw invalid(
      `${prefix}high_freq_factor`,
      highFrequencyFactor,
      `more than low_freq_factor (${lowFrequencyFactor})`,
    );
  }
  return {
    theta,
    llama3: {
      factor: positive(scaling, 'factor', undefined, prefix),
      lowFrequencyFactor,
      highFrequencyFactor,
      originalMaxPositions: positive(scaling, 'original_max_position_embeddings', maxPositions, prefix),
    },
  };
}

function isObject(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function positive(config: Config, field: string, fallback?: number, prefix = ''): number {
  const value = config[field] ?? fallback;
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  throw invalid(prefix + field, config[field], 'a positive number');
}

function size(config: Config, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(field, config[field] ?? fallback, 'a positive integer');
}

function invalid(field: string, value: unknown, expected: string): QuantloomError {
  const found = value === undefined || value === null ? 'is missing' : `is ${JSON.stringify(value)}`;
  return new QuantloomError(
    'InvalidModel',
    `config.json: ${field} ${found}; expected ${expected}. Fix the field or fetch the model again.`,
    { details: { field } },
  );
}

function unsupported(found: string, supported: string): QuantloomError {
  return new QuantloomError(
    'UnsupportedArchitecture',
    `The model uses ${found}, which the llama architecture does not implement. Supported: ${supported}.`,
    { details: { found, supported } },
  );
}
