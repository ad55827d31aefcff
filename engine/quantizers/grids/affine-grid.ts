import { nativeKernelsFor } from '../../kernels';
import type { Recipe } from '../../spec';
import type { Grid } from './grid';

/** Integer codes with a scale and a zero point per group: `w[r, c] ≈ (codes[r, c] - zeros[r, g]) * scales[r, g]`, `g = groupOf[c]`. */
export interface AffineLinear {
  readonly kind: 'affine';
  readonly rows: number;
  readonly columns: number;
  readonly bits: Recipe['bits'];
  /** Columns per group, resolved: -1 has become `columns`. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** All scales are one number, and all zero points. */
  readonly perTensor?: true;
  /** `[rows, columns]`, each in `0 .. 2^bits - 1`. */
  readonly codes: Uint8Array;
  /** `[rows, groups]`; every value is exactly representable in float16, as the file holds it. Positive. */
  readonly scales: Float32Array;
  /** `[rows, groups]`, each in `0 .. 2^bits - 1`. Symmetric: `2^(bits-1)`. */
  readonly zeros: Uint8Array;
  /** `[columns]`: the group of each column. Without dynamic act-order `floor(c / groupSize)`. */
  readonly groupOf: Int32Array;
}

type Form = Pick<AffineLinear, 'rows' | 'columns' | 'bits' | 'groupSize' | 'symmetric' | 'perTensor'>;

/** `(code - zero) * scale` in float32 (exact: at most 9 bits times the 11 of a float16). */
export const affineGrid: Grid<AffineLinear> = {
  kind: 'affine',

  open(linear) {
    const { rows, columns, codes, scales, zeros } = linear;
    const groups = scales.length / rows;
    return (first, count, weights) => {
      const last = first + count;
      const part = {
        ...linear,
        rows: count,
        codes: codes.subarray(first * columns, last * columns),
        scales: scales.subarray(first * groups, last * groups),
        zeros: zeros.subarray(first * groups, last * groups),
      };
      const native = nativeKernelsFor(weights.length);
      if (native) native.dequantize(part, weights);
      else dequantize(part, weights);
    };
  },

  split({ rows, columns, bits, groupSize, symmetric, perTensor, codes, zeros, scales, groupOf }) {
    const header: Form = { rows, columns, bits, groupSize, symmetric, ...(perTensor && { perTensor }) };
    return { header, arrays: [codes, zeros, scales, groupOf] };
  },

  join(header, take) {
    const form = header as unknown as Form;
    const { rows, columns, bits, groupSize, symmetric, perTensor } = form;
    const groups = Math.ceil(columns / groupSize);
    return {
      kind: 'affine',
      ...{ rows, columns, bits, groupSize, symmetric, ...(perTensor && { perTensor }) },
      codes: take(rows * columns),
      zeros: take(rows * groups),
      scales: new Float32Array(new Uint8Array(take(rows * groups * 4)).buffer),
      groupOf: new Int32Array(new Uint8Array(take(columns * 4)).buffer),
    };
  },
};

function dequantize({ rows, columns, codes, scales, zeros, groupOf }: AffineLinear, weight: Float32Array): void {
  const groups = scales.length / rows;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const group = row * groups + (groupOf[column] as number);
      weight[at] = ((codes[at] as number) - (zeros[group] as number)) * (scales[group] as number);
    }
  }
}
