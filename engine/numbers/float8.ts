/** Values of F8_E4M3 (OCP 8-bit floating point, E4M3): no infinities, up to 448; 0x7f and 0xff are NaN. */
const E4M3 = Float32Array.from({ length: 256 }, (_, byte) => {
  const exponent = (byte >> 3) & 15;
  const mantissa = byte & 7;
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
  return (byte & 0x7f) === 0x7f ? Number.NaN : byte & 0x80 ? -magnitude : magnitude;
});

/** The values of F8_E4M3 bytes, exactly. */
export function decodeFloat8E4m3(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) values[i] = E4M3[bytes[i] as number] as number;
  return values;
}
