import type { QuantizationSpec, Recipe } from './quantization-spec';

/** Names of sensible combinations of recipe fields, by how much time they may take. */
export const QUALITIES = ['fast', 'balanced', 'best'] as const;
export type Quality = (typeof QUALITIES)[number];

/**
 * The fields of a recipe that a quality sets at a width; what it leaves out has the recipe's default. A field that is given wins over
 * them.
 *
 * - `fast`: scales by search, GPTQ, no refinements.
 * - `balanced`: three rounds of refinement; in order `stage` half of the mismatch is made up for, estimated on a part of the calibration set.
 * - `best`: GPTQ again with the refined scales, and every group solved again: some eight times the work of `balanced`. The mismatch is estimated on
 *   all of the calibration set.
 *
 * Zero points (asymmetric) cost no disk space in GPTQ files, which store them anyway, but fewer fast inference kernels take them: `best` has
 * them where they gain most, up to 4 bits, the others only at 2 bits, where it does not go without. docs/adr/0015 has the measurements.
 */
export function recipeOfQuality(
  quality: Quality,
  bits: Recipe['bits'],
  order: QuantizationSpec['order'],
): Partial<Recipe> {
  const zeroPoints = bits <= (quality === 'best' ? 4 : 2);
  return {
    scales: 'search',
    // Not `pivots`: a lower error of every linear, and a worse model (docs/adr/0015).
    importance: 'diagonal',
    ...STEPS[quality],
    // What single codes can still gain is lost in the noise above 4 bits.
    ...(bits > 4 && { restarts: 0, groupRounds: 0 }),
    // Half: on other text than the calibration's, all of it costs more than it gains (docs/adr/0019).
    ...(quality !== 'fast' && bits <= 4 && order === 'stage' && { mismatch: 0.5 }),
    ...(zeroPoints && { symmetric: false, zeros: 'neighbours' }),
  };
}

const STEPS: Readonly<Record<Quality, Partial<Recipe>>> = {
  fast: { refinements: 0 },
  balanced: { refinements: 3 },
  best: { refinements: 3, restarts: 3, groupRounds: 3 },
};
