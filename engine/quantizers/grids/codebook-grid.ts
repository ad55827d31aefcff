import { roundToBfloat16, roundToFloat16 } from '../../numbers';
import { CODEBOOKS, type CodebookName } from '../codebook/codebooks';
import type { Grid } from './grid';

/** Magnitudes of blocks, themselves quantized in blocks: `offset + levels[codes[i]] * absmax[floor(i / blockSize)]`. */
export interface NestedAbsmax {
  /** `[blocks]` */
  readonly codes: Uint8Array;
  /** `[256]`, rising. */
  readonly levels: Float32Array;
  /** `[ceil(blocks / blockSize)]` */
  readonly absmax: Float32Array;
  readonly blockSize: number;
  /** A float32. */
  readonly offset: number;
}

/** Codes of levels that a table names, scaled by the largest magnitude of a block of the flattened weight. */
export interface CodebookLinear {
  readonly kind: 'codebook';
  readonly rows: number;
  readonly columns: number;
  readonly codebook: CodebookName;
  /** Weights per block, along the flattened weight; the last may have fewer. */
  readonly blockSize: number;
  /** What readers round the weights to. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
  /** `[rows, columns]`: places in the codebook. */
  readonly codes: Uint8Array;
  /** `[blocks]` */
  readonly absmax: Float32Array | NestedAbsmax;
}

interface Header extends Pick<CodebookLinear, 'rows' | 'columns' | 'codebook' | 'blockSize' | 'dtype'> {
  /** null: not quantized. */
  readonly nested: { readonly blockSize: number; readonly offset: number } | null;
}

const ROUNDING: Readonly<Record<CodebookLinear['dtype'], (value: number) => number>> = {
  F32: (value) => value,
  F16: roundToFloat16,
  BF16: roundToBfloat16,
};

/** `level * absmax` in float32, rounded to the dtype. */
export const codebookGrid: Grid<CodebookLinear> = {
  kind: 'codebook',

  open({ columns, codebook, blockSize, dtype, codes, absmax }) {
    const levels = CODEBOOKS[codebook];
    const scales = absmax instanceof Float32Array ? absmax : resolveAbsmax(absmax);
    const round = ROUNDING[dtype];
    // Of one block.
    const rounded = new Float32Array(levels.length);
    return (first, count, weights) => {
      const begin = first * columns;
      const end = begin + count * columns;
      for (let from = begin; from < end; ) {
        const block = Math.floor(from / blockSize);
        const scale = scales[block] as number;
        levels.forEach((level, code) => {
          rounded[code] = round(Math.fround(level * scale));
        });
        const to = Math.min(end, (block + 1) * blockSize);
        for (; from < to; from++) weights[from - begin] = rounded[codes[from] as number] as number;
      }
    };
  },

  split({ rows, columns, codebook, blockSize, dtype, codes, absmax }) {
    const form = { rows, columns, codebook, blockSize, dtype };
    if (absmax instanceof Float32Array) return { header: { ...form, nested: null }, arrays: [codes, absmax] };
    const nested = { blockSize: absmax.blockSize, offset: absmax.offset };
    return {
      header: { ...form, nested } satisfies Header,
      arrays: [codes, absmax.codes, absmax.levels, absmax.absmax],
    };
  },

  join(header, take) {
    const { nested, ...form } = header as unknown as Header & { readonly kind: 'codebook' };
    const { rows, columns, blockSize, codebook, dtype } = form;
    const blocks = Math.ceil((rows * columns) / blockSize);
    const floats = (count: number) => new Float32Array(new Uint8Array(take(4 * count)).buffer);
    const linear = {
      kind: 'codebook',
      rows,
      columns,
      codebook,
      blockSize,
      dtype,
      codes: take(rows * columns),
    } as const;
    if (!nested) return { ...linear, absmax: floats(blocks) };
    const absmax = {
      codes: take(blocks),
      levels: floats(256),
      absmax: floats(Math.ceil(blocks / nested.blockSize)),
      ...nested,
    };
    return { ...linear, absmax };
  },
};

/** `[blocks]`, in float32 as readers compute it. */
export function resolveAbsmax({ codes, levels, absmax, blockSize, offset }: NestedAbsmax): Float32Array {
  return Float32Array.from(codes, (code, block) => {
    const deviation = Math.fround((levels[code] as number) * (absmax[Math.floor(block / blockSize)] as number));
    return deviation + offset;
  });
}
