import { createHash } from 'node:crypto';
import { bfloat16Bits, decodeBfloat16, encodeBfloat16, roundToBfloat16 } from './bfloat16';
import { bytesOf } from './element-views';
import fixture from './fixtures/float16.json';
import { decodeFloat16, encodeFloat16, float16Bits, float16Value, roundToFloat16 } from './float16';

// The recipes below are those of test/oracles/float16.py; the checksums of the inputs show that they agree.
const sha256 = (array: ArrayBufferView) => createHash('sha256').update(bytesOf(array)).digest('hex');
const allPatterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

/** The value of a float16 pattern by IEEE 754's formula. */
function valueByFormula(bits: number): number {
  const sign = bits >>> 15 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return sign * (exponent === 0 ? (fraction / 1024) * 2 ** -14 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Borders between neighbouring positive float16 values; the last one lies before Infinity. */
function borders(): number[] {
  const values = Array.from({ length: 0x7c00 }, (_, bits) => valueByFormula(bits));
  return values.map((value, bits) => (value + (values[bits + 1] ?? 65536)) / 2);
}

function hardFloat32(): Float32Array {
  const middles = new Uint32Array(Float32Array.from(borders()).buffer);
  const positive: number[] = [];
  for (const bits of middles) positive.push(Math.max(bits - 1, 0), bits, bits + 1);
  for (let bits = 0; bits < 2 ** 31; bits += 65521) if (bits <= 0x7f800000) positive.push(bits);
  return new Float32Array(Uint32Array.from([...positive, ...positive.map((bits) => bits + 2 ** 31)]).buffer);
}

describe('float16', () => {
  test('decodes all 65536 patterns as numpy does', () => {
    const decoded = decodeFloat16(allPatterns);
    const numbers = decoded.filter((value) => !Number.isNaN(value));
    expect(decoded.length - numbers.length).toBe(fixture.nanPatterns);
    expect(sha256(numbers)).toBe(fixture.decodedNotNan);
  });

  test('decodes all 65536 patterns by the formula of IEEE 754, one by one too', () => {
    const decoded = decodeFloat16(allPatterns);
    const wrong = [...allPatterns].filter((bits) => {
      const value = valueByFormula(bits);
      return !Object.is(decoded[bits], value) || !Object.is(float16Value(bits), value);
    });
    expect(wrong).toEqual([]);
  });

  test('encodes every decoded pattern back to itself, NaNs to quiet NaNs', () => {
    const encoded = encodeFloat16(decodeFloat16(allPatterns));
    const wrong = [...allPatterns].filter((bits) => {
      const isNaNPattern = (bits & 0x7fff) > 0x7c00;
      return encoded[bits] !== (isNaNPattern ? bits | 0x0200 : bits);
    });
    expect(wrong).toEqual([]);
  });

  test('rounds 255760 hard float32 values as numpy does', () => {
    const inputs = hardFloat32();
    expect(sha256(inputs)).toBe(fixture.hardFloat32.input);
    expect(sha256(encodeFloat16(inputs))).toBe(fixture.hardFloat32.float16);
  });

  test('rounds float64 values next to a border without rounding twice', () => {
    const inputs = Float64Array.from(
      borders().flatMap((middle) => [middle * (1 - 2 ** -50), middle, middle * (1 + 2 ** -50)]),
    );
    expect(sha256(inputs)).toBe(fixture.hardFloat64.input);
    const rounded = Float32Array.from(inputs, roundToFloat16);
    expect(sha256(encodeFloat16(rounded))).toBe(fixture.hardFloat64.float16);
  });

  test('rounds single values at the edges of the format', () => {
    expect(roundToFloat16(65519.999)).toBe(65504);
    expect(roundToFloat16(65520)).toBe(Infinity);
    expect(roundToFloat16(-65520)).toBe(-Infinity);
    expect(roundToFloat16(0.1)).toBe(0.0999755859375);
    expect(roundToFloat16(2 ** -25)).toBe(0);
    expect(roundToFloat16(2 ** -25 * (1 + 2 ** -52))).toBe(2 ** -24);
    expect(Object.is(roundToFloat16(-1e-30), -0)).toBe(true);
    expect(roundToFloat16(5e-324)).toBe(0);
    expect(roundToFloat16(Number.NaN)).toBeNaN();
    expect(float16Bits(1)).toBe(0x3c00);
    expect(float16Bits(Number.NaN) & 0x7e00).toBe(0x7e00);
  });
});

describe('bfloat16', () => {
  test('rounds 391682 hard float32 values as torch does', () => {
    const bits: number[] = [];
    for (let upper = 0; upper < 65536; upper++) {
      for (const lower of [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff]) {
        const pattern = upper * 65536 + lower;
        if (pattern % 2 ** 31 <= 0x7f800000) bits.push(pattern);
      }
    }
    const inputs = new Float32Array(Uint32Array.from(bits).buffer);
    expect(sha256(inputs)).toBe(fixture.hardBfloat16.input);
    expect(sha256(encodeBfloat16(inputs))).toBe(fixture.hardBfloat16.bfloat16);
    expect(sha256(encodeBfloat16(Float32Array.from(inputs, roundToBfloat16)))).toBe(fixture.hardBfloat16.bfloat16);
  });

  test('decodes a pattern to the float32 whose upper half it is', () => {
    const decoded = decodeBfloat16(allPatterns);
    const decodedBits = new Uint32Array(decoded.buffer);
    expect(allPatterns.every((bits) => decodedBits[bits] === bits * 65536)).toBe(true);
    expect(decoded[0x3fc0]).toBe(1.5);
  });

  test('keeps a NaN a NaN when its payload is in the lower half', () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001).buffer);
    expect(encodeBfloat16(nan)[0]).toBe(0x7fc0);
    expect(bfloat16Bits(-2)).toBe(0xc000);
    expect(roundToBfloat16(3.4e38)).toBe(Infinity);
  });
});
