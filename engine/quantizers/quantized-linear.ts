import type { LinearReport, Recipe } from '../spec';

/**
 * A quantized weight: `w[r, c] ≈ (codes[r, c] - zeros[r, g]) * scales[r, g]`, `g = groupOf[c]`.
 *
 * Rows are output features, columns input features, in the order of the source.
 */
export interface QuantizedLinear {
  readonly rows: number;
  readonly columns: number;
  readonly bits: Recipe['bits'];
  /** Columns per group, resolved: -1 has become `columns`. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** `[rows, columns]`, each in `0 .. 2^bits - 1`. */
  readonly codes: Uint8Array;
  /** `[rows, groups]`; every value is exactly representable in float16, as the file holds it. Positive. */
  readonly scales: Float32Array;
  /** `[rows, groups]`, each in `0 .. 2^bits - 1`. Symmetric: `2^(bits-1)`. */
  readonly zeros: Uint8Array;
  /** `[columns]`: the group of each column. Without dynamic act-order `floor(c / groupSize)`. */
  readonly groupOf: Int32Array;
}

/** What a method returns: the weight and what happened on the way (everything of the report but its name). */
export interface QuantizationResult {
  readonly linear: QuantizedLinear;
  readonly report: Omit<LinearReport, 'name' | 'recipe'>;
}
