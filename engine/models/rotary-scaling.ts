import type { RotaryScaling } from './architecture';
import { type Config, invalid, isObject, positive, unsupported } from './config-fields';

/**
 * Rotary positions as config.json has them: transformers 5 writes `rope_parameters`; before, `rope_theta` stood beside an optional
 * `rope_scaling`. Default theta: 10000.
 *
 * @throws QuantloomError InvalidModel naming the field; UnsupportedArchitecture naming the kind of scaling.
 */
export function rotaryScaling(config: Config, maxPositions: number, architecture: string): RotaryScaling {
  const field = isObject(config.rope_parameters) ? 'rope_parameters' : 'rope_scaling';
  const scaling = isObject(config[field]) ? config[field] : {};
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  if (type !== 'default' && type !== 'llama3') {
    throw unsupported(`rope type ${JSON.stringify(type)} (config.json: ${field})`, 'default, llama3', architecture);
  }
  const partial = scaling.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    const found = `partial rotary embedding (config.json: ${field}.partial_rotary_factor = ${partial})`;
    throw unsupported(found, '1', architecture);
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
