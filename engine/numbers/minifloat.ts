import { decodeFloat8E4m3 } from './float8';

/** A float of a few bits: a sign, and a magnitude whose bits are its place among the magnitudes. */
export interface Minifloat {
  readonly bits: number;
  /** Rising from 0: what a code without a sign stands for. */
  readonly magnitudes: Float64Array;
  /** The bit of the sign. */
  readonly sign: number;
}

/** F8_E4M3 (OCP 8-bit floating point): up to 448. */
export const E4M3: Minifloat = {
  bits: 8,
  magnitudes: Float64Array.from(decodeFloat8E4m3(Uint8Array.from({ length: 127 }, (_, code) => code))),
  sign: 0x80,
};

/** E2M1 (OCP Microscaling Formats 1.0, 5.3.3): up to 6. */
export const E2M1: Minifloat = {
  bits: 4,
  magnitudes: Float64Array.of(0, 0.5, 1, 1.5, 2, 3, 4, 6),
  sign: 8,
};

/** The code of the nearest value, of two equally near the one with an even last bit; what is beyond the largest becomes the largest. */
export function minifloatCode({ magnitudes, sign }: Minifloat, x: number): number {
  const magnitude = Math.abs(x);
  const last = magnitudes.length - 1;
  let [low, high] = [0, last];
  if (magnitude >= (magnitudes[last] as number)) low = last;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (magnitude < (magnitudes[middle] as number)) high = middle;
    else low = middle;
  }
  if (low !== last) {
    const [below, above] = [magnitude - (magnitudes[low] as number), (magnitudes[high] as number) - magnitude];
    if (above < below || (above === below && low % 2 === 1)) low = high;
  }
  // -0 is 0; what is below and rounded to it keeps its sign.
  return x < 0 ? low | sign : low;
}

/** The value of every code; NaN where the type has none. */
export function minifloatValues({ bits, magnitudes, sign }: Minifloat): Float32Array {
  return Float32Array.from({ length: 2 ** bits }, (_, code) => {
    const magnitude = magnitudes[code & ~sign] ?? Number.NaN;
    return code & sign ? -magnitude : magnitude;
  });
}
