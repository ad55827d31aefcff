import type { CodebookLinear, NestedAbsmax } from '../grids/codebook-grid';
import { type CodebookName, ROUNDINGS } from './codebooks';
import { dynamicMap } from './dynamic-map';
import { quantizeBlocks } from './quantize-blocks';

/** Magnitudes per block of the second quantization. */
const NESTED_BLOCK = 256;

export interface WeightForCodebook {
  /** `[rows, columns]` */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly codebook: CodebookName;
  readonly blockSize: number;
  /** Quantize the magnitudes of blocks too. */
  readonly doubleQuant: boolean;
  /** What readers round the weight to: its dtype in the source. */
  readonly dtype: CodebookLinear['dtype'];
  readonly signal?: AbortSignal;
}

/** Rounds a weight to the levels of a codebook, block by block of the flattened weight, as bitsandbytes does. @throws as quantizeBlocks. */
export async function quantizeToCodebook(options: WeightForCodebook): Promise<CodebookLinear> {
  const { weight, rows, columns, codebook, blockSize, doubleQuant, dtype, signal } = options;
  const { codes, absmax } = await quantizeBlocks({ values: weight, blockSize, ...ROUNDINGS[codebook], signal });
  return {
    ...{ kind: 'codebook', rows, columns, codebook, blockSize, dtype, codes },
    absmax: doubleQuant ? await quantizeAbsmax(absmax, signal) : absmax,
  };
}

/**
 * Double quantization (Dettmers et al. 2023, section 3): what the magnitudes deviate from their mean by, in 8 bits.
 *
 * The mean is summed in float64. torch's sum in float32 depends on the width of the processor's vectors and on threads; it is off by a unit of the
 * last place at times.
 */
export async function quantizeAbsmax(absmax: Float32Array, signal?: AbortSignal): Promise<NestedAbsmax> {
  const offset = Math.fround(absmax.reduce((sum, value) => sum + value, 0) / absmax.length);
  const levels = dynamicMap();
  const deviations = absmax.map((value) => value - offset);
  const bounds = Float32Array.from(levels.subarray(1), (level, i) => Math.fround(level + (levels[i] as number)) / 2);
  const codes = Uint8Array.from(levels.keys());
  const blocks = await quantizeBlocks({ values: deviations, blockSize: NESTED_BLOCK, bounds, codes, signal });
  return { ...blocks, levels, blockSize: NESTED_BLOCK, offset };
}
