import { E2M1, E4M3, type Minifloat, minifloatCode, minifloatValues, roundToBfloat16 } from '../../numbers';
import { type FloatType, recipeOfFloats } from '../../spec';

/** An entry of the registry: floats, and the scales that they are multiplied by. */
export interface MinifloatType {
  readonly element: Minifloat;
  /** Rows that share a scale; Infinity: all. */
  readonly rowsPerScale: number;
  /**
   * A scale that the file can hold, positive, next to what maps this largest magnitude to that of the element.
   *
   * @param globalScale of a type that has one
   */
  scaleOf(magnitude: number, globalScale: number | null): number;
  /** Scales around one that a search tries. Absent: a float has its own exponent, so there is little to gain. */
  neighbours?(scale: number): readonly number[];
  /**
   * What all scales of a weight are divided by, so that they are numbers of their type. Absent: nothing.
   *
   * @param searched whether scales are chosen freely; else they are what compressed-tensors has.
   */
  globalScaleOf?(magnitude: number, searched: boolean): number;
}

/** Divided by where a group holds nothing but zeros, as compressed-tensors does: the unit of the last place of 1 in float32. */
export const SMALLEST_SCALE = 2 ** -23;
export const LARGEST_E4M3 = 448;
const LARGEST_E2M1 = 6;

/** Scales are bfloat16: what readers of models in 16 bit load them as at the latest. */
const fp8: MinifloatType = {
  element: E4M3,
  rowsPerScale: 1,
  scaleOf: (magnitude) => roundToBfloat16(magnitude / LARGEST_E4M3) || SMALLEST_SCALE,
};

const word = new Float32Array(1);
const wordBits = new Uint32Array(word.buffer);
/** The exponent of E8M0 0. */
const LEAST_EXPONENT = -127;

/** OCP Microscaling Formats 1.0: scales are powers of two, E8M0. */
const mxfp4: MinifloatType = {
  element: E2M1,
  rowsPerScale: 1,

  /** The power of two below, of magnitudes from 1.75 on the one above, a fourth of it: what compressed-tensors and vLLM's reference have. */
  scaleOf(magnitude) {
    word[0] = magnitude;
    const exponent = (((wordBits[0] as number) + 0x200000) >>> 23) - 127 - 2;
    return 2 ** Math.max(LEAST_EXPONENT, exponent);
  },

  neighbours: (scale) => [2 * scale, Math.max(2 ** LEAST_EXPONENT, scale / 2)],
};

const E4M3_VALUES = minifloatValues(E4M3);
/** Where a scale would be 0, as compressed-tensors has it. */
const ZERO_SCALE = 0.125;
/** Of E4M3: scales that cut off, and those that map the largest magnitude to 4 in place of 6. */
const [STEPS_DOWN, STEPS_UP] = [3, 5];
/** With it scales are normal numbers of E4M3 for groups whose largest magnitude is from 2e-4 to 5.25: nearly all groups of nearly all models. */
const USUAL_GLOBAL_SCALE = 512;

/** What maps this largest magnitude to the largest product of a scale and a float. */
export function globalScaleOf(magnitude: number): number {
  // torch divides a number by a tensor so.
  const scale = Math.fround(Math.fround(1 / magnitude) * (LARGEST_E4M3 * LARGEST_E2M1));
  return Number.isFinite(scale) ? scale : 1;
}

const nvfp4: MinifloatType = {
  element: E2M1,
  rowsPerScale: 1,

  scaleOf(magnitude, globalScale) {
    const scale = Math.fround(Math.fround(magnitude / LARGEST_E2M1) * (globalScale ?? 1));
    return (E4M3_VALUES[minifloatCode(E4M3, scale)] as number) || ZERO_SCALE;
  },

  neighbours(scale) {
    const code = minifloatCode(E4M3, scale);
    const first = Math.max(1, code - STEPS_DOWN);
    const last = Math.min(E4M3.magnitudes.length - 1, code + STEPS_UP);
    return Array.from({ length: last - first + 1 }, (_, i) => E4M3_VALUES[first + i] as number);
  },

  /** The same for all weights where it can be: kernels that fuse q, k and v, or gate and up, have one for all of them. */
  globalScaleOf(magnitude, searched) {
    if (searched && magnitude * USUAL_GLOBAL_SCALE <= LARGEST_E4M3 * LARGEST_E2M1) return USUAL_GLOBAL_SCALE;
    return globalScaleOf(magnitude);
  },
};

/** Steps of an eighth of an octave: between powers of two there is nothing, so it matters where they lie. */
const FRACTIONS = [-4, -3, -2, -1, 1, 2, 3, 4].map((eighths) => 2 ** (eighths / 8));

/** Logarithmic levels (Miyashita et al. 2016, arXiv 1603.01025, section 3): the largest power is what the largest magnitude becomes. */
const log2: MinifloatType = {
  element: {
    bits: 4,
    magnitudes: Float64Array.from({ length: 8 }, (_, place) => (place === 0 ? 0 : 2 ** (place - 7))),
    sign: 8,
  },
  rowsPerScale: 1,
  scaleOf: (magnitude) => roundToBfloat16(magnitude) || SMALLEST_SCALE,
  neighbours: (scale) => FRACTIONS.map((fraction) => roundToBfloat16(scale * fraction)),
};

/** Every type of float that weights are quantized to. */
export const MINIFLOAT_TYPES: Readonly<Record<FloatType, MinifloatType>> = {
  fp8,
  'fp8-tensor': { ...fp8, rowsPerScale: Number.POSITIVE_INFINITY },
  'fp8-block': { ...fp8, rowsPerScale: 128 },
  mxfp4,
  nvfp4,
  log2,
};

/** What values are multiplied by, in float32. */
export function effectiveScale(scale: number, globalScale: number | null): number {
  return globalScale === null ? scale : Math.fround(scale / globalScale);
}

/** How the scales of a weight lie: `[rows, columns]` of them, each for so many rows and columns. */
export interface ScaleLayout {
  readonly rows: number;
  readonly columns: number;
  readonly rowsPerScale: number;
  readonly columnsPerScale: number;
}

export function scaleLayout(floatType: FloatType, rows: number, columns: number): ScaleLayout {
  const rowsPerScale = Math.min(rows, MINIFLOAT_TYPES[floatType].rowsPerScale);
  const { groupSize } = recipeOfFloats(floatType);
  const columnsPerScale = groupSize === -1 ? columns : groupSize;
  return {
    rows: Math.ceil(rows / rowsPerScale),
    columns: Math.ceil(columns / columnsPerScale),
    rowsPerScale,
    columnsPerScale,
  };
}
