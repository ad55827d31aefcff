const scratch = new Float64Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/**
 * Rounds a float64 to the nearest value of a smaller binary format, ties to even.
 *
 * @param precision significand bits, the hidden one included.
 * @param minExponent exponent of the smallest normal number; below it the spacing stays.
 * @param max largest finite value; what rounds past it becomes Infinity.
 */
export function roundToBinary(x: number, precision: number, minExponent: number, max: number): number {
  if (x === 0 || Number.isNaN(x)) return x;
  // At max plus half a unit the tie goes to Infinity; the bound keeps the sum below from overflowing.
  const magnitude = Math.abs(x);
  if (magnitude > 2 * max) return x < 0 ? -Infinity : Infinity;
  scratch[0] = magnitude;
  // A float64 subnormal reads as exponent -1023: far below any minExponent here.
  const exponent = Math.max(((scratchBits[1] as number) >>> 20) - 1023, minExponent);
  // Float64 addition itself rounds half to even: at this power of two its unit is the unit of the smaller format.
  scratchBits[0] = 0;
  scratchBits[1] = (exponent - precision + 1 + 52 + 1023) << 20;
  const shifter = scratch[0] as number;
  const rounded = magnitude + shifter - shifter;
  if (rounded > max) return x < 0 ? -Infinity : Infinity;
  return x < 0 ? -rounded : rounded;
}
