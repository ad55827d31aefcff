import { ownMemory, type TakeMemory, zeroSums } from '../memory';
import { bfloat16Bits, bfloat16Value } from '../numbers';
import type { GramPrecision, NativeAddon } from './native-addon';
import { selectKernels } from './select-kernels';

/** A sum of XᵀX over batches. Its methods block the calling thread: never call them on the event loop. */
export interface Gram {
  /** Adds XᵀX of a batch, `[tokens, columns]`; on other threads than the sum was made with, if so told. */
  add(x: Float32Array, threads?: number): void;
  /** `[columns, columns]`, symmetric. */
  matrix(): Float32Array;
}

export interface GramOptions {
  readonly columns: number;
  /**
   * What x is rounded to before it is multiplied; default `float32`. `bfloat16` is twice as fast where the processor multiplies it
   * (`hasBfloat16Products`), and gives the same bytes elsewhere. An element's error grows by at most 2^-8 Σ|x y|.
   */
  readonly precision?: GramPrecision;
  /** Default 1. The bytes do not depend on it. */
  readonly threads?: number;
  /** null: in TypeScript, all in float64, on this thread. Default: what selectKernels chooses. */
  readonly native?: NativeAddon | null;
  /** Where the native sums' memory comes from; it is used until the last call. Default: memory of its own. */
  readonly take?: TakeMemory;
}

/** A sum that is zero. */
export function createGram({
  columns,
  precision = 'float32',
  threads = 1,
  native = selectKernels().native,
  take = ownMemory,
}: GramOptions): Gram {
  if (!native) return referenceGram(columns, precision);
  const sums = zeroSums(native.gramSumsLength(columns), take);
  return {
    add: (x, now = threads) => native.addGram(sums, x, columns, precision, now),
    matrix: () => native.gramMatrix(sums, columns, threads),
  };
}

function referenceGram(columns: number, precision: GramPrecision): Gram {
  const sums = new Float64Array(columns * columns);
  return {
    add(x) {
      const factors = precision === 'bfloat16' ? x.map((value) => bfloat16Value(bfloat16Bits(value))) : x;
      for (let first = 0; first < factors.length; first += columns) {
        const row = factors.subarray(first, first + columns);
        for (let i = 0; i < columns; i++) {
          for (let j = i; j < columns; j++) {
            sums[i * columns + j] = (sums[i * columns + j] as number) + (row[i] as number) * (row[j] as number);
          }
        }
      }
    },
    matrix() {
      const matrix = new Float32Array(columns * columns);
      for (let i = 0; i < columns; i++) {
        for (let j = i; j < columns; j++) {
          matrix[i * columns + j] = sums[i * columns + j] as number;
          matrix[j * columns + i] = sums[i * columns + j] as number;
        }
      }
      return matrix;
    },
  };
}
