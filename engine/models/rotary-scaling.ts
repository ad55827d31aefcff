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
  const theta = positive(config, 'rope_theta', 10000);
  return rotaryOf({ scaling, field, theta, kinds: ['default', 'llama3'] }, maxPositions, architecture);
}

/** What an object of config.json says of rotary positions. */
export interface RotaryFields {
  readonly scaling: Config;
  /** Where it stands. */
  readonly field: string;
  /** Where it names none. */
  readonly theta: number;
  /** Those that the architecture computes. */
  readonly kinds: readonly ('default' | 'linear' | 'llama3')[];
}

/** @throws QuantloomError InvalidModel naming the field; UnsupportedArchitecture naming the kind of scaling. */
export function rotaryOf(
  { scaling, field, theta: otherwise, kinds }: RotaryFields,
  maxPositions: number,
  architecture: string,
): RotaryScaling {
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  if (!kinds.some((kind) => kind === type)) {
    throw unsupported(`rope type ${JSON.stringify(type)} (config.json: ${field})`, kinds.join(', '), architecture);
  }
  const partial = scaling.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    const found = `partial rotary embedding (config.json: ${field}.partial_rotary_factor = ${partial})`;
    throw unsupported(found, '1', architecture);
  }
  const theta = positive(scaling, 'rope_theta', otherwise, `${field}.`);
  if (type === 'default') return { theta, llama3: null };
  const prefix = `${field}.`;
  if (type === 'linear') return { theta, llama3: null, linear: positive(scaling, 'factor', undefined, prefix) };
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
