/** The numbers of a tensor in float32. @throws Error for a dtype that holds no such numbers. */
export function rawFloats(bytes: Buffer, dtype: string): Float32Array {
  const decode = DECODERS[dtype];
  if (!decode) throw new Error(`${dtype} is not F16, BF16 or F32`);
  return Float32Array.from({ length: bytes.byteLength / decode.bytes }, (_, at) => decode.at(bytes, at * decode.bytes));
}

const DECODERS: Readonly<Record<string, { readonly bytes: number; at(bytes: Buffer, offset: number): number }>> = {
  F16: { bytes: 2, at: (bytes, offset) => halfFloat(bytes.readUInt16LE(offset)) },
  BF16: { bytes: 2, at: (bytes, offset) => brainFloat(bytes.readUInt16LE(offset)) },
  F32: { bytes: 4, at: (bytes, offset) => bytes.readFloatLE(offset) },
};

/** An IEEE 754 binary16 number from its bits. */
export function halfFloat(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor(bits / 1024) % 32;
  const fraction = bits % 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** A bfloat16 number from its bits: the upper half of a float32. */
function brainFloat(bits: number): number {
  WORD.setUint32(0, bits << 16);
  return WORD.getFloat32(0);
}

const WORD = new DataView(new ArrayBuffer(4));
