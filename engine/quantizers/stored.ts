import type { LinearToQuantize } from './quantize-linear';
import { relativeWeightError } from './quantize-whole';
import type { GridKind, QuantizationResult } from './quantized-linear';

/** A method that quantizes nothing: the codes are those that the source has, read by whoever asks (`LinearToQuantize.stored`). */
export interface StoredMethod {
  readonly name: 'stored';
  readonly grids: readonly [GridKind, ...GridKind[]];
  readonly needsHessian: false;
  readonly takesStored: true;
  refuse?(): null;
}

/** Integer grids, since only these are the same grid in another format. */
export const stored: StoredMethod = { name: 'stored', grids: ['affine'], needsHessian: false, takesStored: true };

/** The stored codes as a result. Its error is that of the dense copy: what float16 or bfloat16 rounded of what the codes stand for. */
export function resultOfStored({ weight, rows, columns, stored, name }: LinearToQuantize): QuantizationResult {
  if (!stored || stored.rows !== rows || stored.columns !== columns) {
    throw new RangeError(`${name}: no stored codes of ${rows} x ${columns}`);
  }
  return {
    linear: stored,
    report: {
      rows,
      columns,
      relativeError: null,
      relativeWeightError: relativeWeightError(weight, stored),
      relativeErrorBeforeRefinement: null,
      rung: 'not-needed',
      damping: 0,
      deadColumns: 0,
    },
  };
}
