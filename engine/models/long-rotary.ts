import type { ModelShape, RotaryScaling, SequenceLimit } from './architecture';
import { type Config, invalid, isObject, positive, size, unsupported } from './config-fields';

/** What kinds of scaling were called before it was `longrope`. */
const LONG_TYPES: readonly unknown[] = ['longrope', 'su', 'yarn'];

/**
 * Rotary positions of Phi-3: of the first `partial_rotary_factor` of a head, and maybe with a factor for each frequency (LongRoPE, arXiv
 * 2402.13753): the short ones, see {@link longSequenceLimit}.
 *
 * @throws QuantloomError InvalidModel naming the field; UnsupportedArchitecture naming the kind of scaling.
 */
export function longRotary(
  config: Config,
  { maxPositions, headSize }: Pick<ModelShape, 'maxPositions' | 'headSize'>,
  architecture: string,
): RotaryScaling {
  const { scaling, field, type } = scalingOf(config);
  const theta = positive(scaling, 'rope_theta', positive(config, 'rope_theta', 10000), `${field}.`);
  const part = positive(scaling, 'partial_rotary_factor', positive(config, 'partial_rotary_factor', 1), `${field}.`);
  const rotated = Math.trunc(headSize * part);
  if (rotated % 2 !== 0 || rotated === 0 || rotated > headSize) {
    throw invalid('partial_rotary_factor', part, `an even number of the ${headSize} features of a head`);
  }
  const partial = rotated === headSize ? {} : { rotated };
  if (type === 'default') return { theta, llama3: null, ...partial };
  if (!LONG_TYPES.includes(type)) {
    const found = `rope type ${JSON.stringify(type)} (config.json: ${field})`;
    throw unsupported(found, 'default, longrope', architecture);
  }
  const factors = scaling.short_factor;
  if (!Array.isArray(factors) || factors.length !== rotated / 2 || !factors.every((factor) => factor > 0)) {
    throw invalid(`${field}.short_factor`, factors, `${rotated / 2} positive numbers`);
  }
  const original = originalPositions(config, scaling, maxPositions);
  const factor = positive(scaling, 'factor', maxPositions / original, `${field}.`);
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  const amplitude = positive(scaling, 'attention_factor', usual, `${field}.`);
  return { theta, llama3: null, ...partial, factors, ...(amplitude !== 1 && { amplitude }) };
}

/** Behind the positions that the model was first trained on it would take other factors for all of a sequence. null: it would not. */
export function longSequenceLimit(
  config: Config,
  { maxPositions }: Pick<ModelShape, 'maxPositions'>,
): SequenceLimit | null {
  const { scaling, type } = scalingOf(config);
  if (!LONG_TYPES.includes(type)) return null;
  const tokens = originalPositions(config, scaling, maxPositions);
  return { tokens, field: 'original_max_position_embeddings' };
}

function scalingOf(config: Config) {
  const field = isObject(config.rope_parameters) ? 'rope_parameters' : 'rope_scaling';
  const scaling = isObject(config[field]) ? config[field] : {};
  return { scaling, field, type: scaling.rope_type ?? scaling.type ?? 'default' };
}

function originalPositions(config: Config, scaling: Config, maxPositions: number): number {
  const field = 'original_max_position_embeddings';
  return Math.min(maxPositions, size(isObject(scaling) && scaling[field] ? scaling : config, field, 4096));
}
