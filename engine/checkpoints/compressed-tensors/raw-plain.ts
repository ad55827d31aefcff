import type { LinearDescription } from '../linear-storage';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';
import { readRawInputScale } from './raw-input-scale';

/**
 * Decoder of the verification: no code shared with the encoder, nor with the reader. How scales lie follows from their own shape.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawPlain(
  module: string,
  stored: StoredTensors,
  description: LinearDescription,
): Promise<RawLinear> {
  const { describedBy, settingsOf } = description;
  const { dtype, shape } = stored.tensors.get(`${module}.weight`) ?? { dtype: 'missing', shape: [] };
  const isFloat = dtype === 'F8_E4M3';
  if (isFloat !== (settingsOf(module)?.floatType !== undefined)) {
    throw new Error(`weight is ${dtype}, ${describedBy} ${isFloat ? 'integers' : 'floats'}`);
  }
  const [rows = 0, columns = 0] = shape;
  const bytes = await stored.read(`${module}.weight`);
  const scale = stored.tensors.get(`${module}.weight_scale`);
  const scales = rawFloats(await stored.read(`${module}.weight_scale`), scale?.dtype ?? '');
  const [down = 1, across = 1] = scale?.shape ?? [];
  // One for all, one a row, or one for each block.
  const sides = [down, across].map((count, axis) => (count === 1 ? (shape[axis] as number) : 0));
  const height = sides[0] || (down === rows ? 1 : 128);
  const width = sides[1] || 128;
  if (Math.ceil(rows / height) !== down || Math.ceil(columns / width) !== across) {
    throw new Error(`weight_scale has shape [${scale?.shape.join(', ')}] for ${rows} x ${columns} weights`);
  }
  const zeros = stored.tensors.has(`${module}.weight_zero_point`)
    ? await stored.read(`${module}.weight_zero_point`)
    : null;
  return {
    rows,
    columns,
    ...(await readRawInputScale(module, stored, description)),
    scales: {
      part: 'weight_scale',
      dtype: scale?.dtype ?? '',
      values: scales,
      where: (at) => `row ${Math.floor(at / across) * height}, column ${(at % across) * width}`,
    },
    zeros: null,
    groups: null,
    weights(first, count, memory = new Float32Array(count * columns)) {
      for (let at = 0; at < count * columns; at++) {
        const [row, column] = [first + Math.floor(at / columns), at % columns];
        const offset = row * columns + column;
        const value = isFloat
          ? eightBitFloat(bytes.readUInt8(offset))
          : bytes.readInt8(offset) - (zeros?.readInt8(Math.floor(row / height)) ?? 0);
        memory[at] = value * (scales[Math.floor(row / height) * across + Math.floor(column / width)] as number);
      }
      return memory;
    },
  };
}

/** A number of F8_E4M3 from its bits: one of sign, four of exponent, three of fraction. */
export function eightBitFloat(bits: number): number {
  const sign = bits >= 128 ? -1 : 1;
  const exponent = Math.floor(bits / 8) % 16;
  const fraction = bits % 8;
  if (exponent === 15 && fraction === 7) return Number.NaN;
  return exponent === 0 ? (sign * fraction) / 512 : sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}
