import type { DType } from '../spec';
import { int32View } from './element-views';

interface FloatLayout {
  readonly elementBytes: 2 | 4 | 8;
  /** The exponent of every element in a 32-bit word (all ones: NaN or Infinity), and its lowest bit. */
  readonly exponent: number;
  readonly one: number;
}

const LAYOUTS: Partial<Record<DType, FloatLayout>> = {
  F16: { elementBytes: 2, exponent: 0x7c007c00, one: 0x04000400 },
  BF16: { elementBytes: 2, exponent: 0x7f807f80, one: 0x00800080 },
  F32: { elementBytes: 4, exponent: 0x7f800000, one: 0x00800000 },
  F64: { elementBytes: 8, exponent: 0x7ff00000, one: 0x00100000 },
};

/** Whether {@link findNonFinite} looks at this dtype. */
export function mayBeNonFinite(dtype: DType): boolean {
  return LAYOUTS[dtype] !== undefined;
}

/**
 * Counts NaN and infinite elements. The bytes hold whole elements.
 *
 * @returns `first`: index of the first one, -1 if there is none.
 */
export function findNonFinite(bytes: Uint8Array, dtype: DType): { count: number; first: number } {
  const layout = LAYOUTS[dtype];
  if (layout === undefined || !anyNonFinite(bytes, layout)) return { count: 0, first: -1 };

  const { elementBytes, exponent } = layout;
  // The sign and exponent of a little-endian element are in its last two bytes.
  const mask = exponent >>> 16;
  let count = 0;
  let first = -1;
  for (let at = elementBytes - 2, index = 0; at + 1 < bytes.length; at += elementBytes, index++) {
    const upper = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
    if ((upper & mask) !== mask) continue;
    if (count === 0) first = index;
    count++;
  }
  return { count, first };
}

/**
 * One pass over 32-bit words without a branch: adding one to an exponent of all ones carries into the (masked out) sign bit.
 * Two elements fit into a word of 16-bit floats; a carry cannot leave its half.
 */
function anyNonFinite(bytes: Uint8Array, { elementBytes, exponent, one }: FloatLayout): boolean {
  const words = int32View(bytes);
  const step = elementBytes === 8 ? 2 : 1;
  let carries = 0;
  for (let i = step - 1; i < words.length; i += step) carries |= ((words[i] as number) & exponent) + one;
  const signs = elementBytes === 2 ? 0x80008000 : 0x80000000;
  if ((carries & signs) !== 0) return true;

  const rest = bytes.length - (bytes.length % 4);
  if (elementBytes !== 2 || rest === bytes.length) return false;
  const last = (bytes[rest] as number) | ((bytes[rest + 1] as number) << 8);
  return (last & (exponent >>> 16)) === exponent >>> 16;
}
