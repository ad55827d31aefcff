import type { LinearDescription } from '../linear-storage';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';
import { readRawInputScale } from './raw-input-scale';
import { eightBitFloat } from './raw-plain';

/**
 * Decoder of the verification: no code shared with the packer, nor with the reader. The dtype of scales says which they are.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawPackedFloats(
  module: string,
  stored: StoredTensors,
  description: LinearDescription,
): Promise<RawLinear> {
  const { describedBy, settingsOf } = description;
  const scale = stored.tensors.get(`${module}.weight_scale`);
  const isPowers = scale?.dtype === 'U8';
  const said = settingsOf(module)?.floatType;
  if (said !== (isPowers ? 'mxfp4' : 'nvfp4'))
    throw new Error(`the scales are ${scale?.dtype}, ${describedBy} ${said}`);
  const [rows = 0, pairs = 0] = stored.tensors.get(`${module}.weight_packed`)?.shape ?? [];
  const [scaleRows, across = 0] = scale?.shape ?? [];
  const columns = pairs * 2;
  const group = columns / across;
  if (scaleRows !== rows || group !== (isPowers ? 32 : 16)) {
    throw new Error(`weight_scale has shape [${scale?.shape.join(', ')}] for ${rows} x ${columns} weights`);
  }
  const packed = await stored.read(`${module}.weight_packed`);
  const bytes = await stored.read(`${module}.weight_scale`);
  const divisor = isPowers ? 1 : (rawFloats(await stored.read(`${module}.weight_global_scale`), 'F32')[0] as number);
  const scales = Float32Array.from(bytes, (byte) => (isPowers ? 2 ** (byte - 127) : eightBitFloat(byte) / divisor));
  return {
    rows,
    columns,
    ...(await readRawInputScale(module, stored, description)),
    scales: {
      part: 'weight_scale',
      dtype: scale?.dtype ?? '',
      values: scales,
      where: (at) => `row ${Math.floor(at / across)}, group ${at % across}`,
    },
    zeros: null,
    groups: null,
    weights(first, count, memory = new Float32Array(count * columns)) {
      for (let at = 0; at < count * columns; at++) {
        const place = first * columns + at;
        const pair = packed[Math.floor(place / 2)] as number;
        const bits = place % 2 === 0 ? pair % 16 : Math.floor(pair / 16);
        memory[at] = fourBitFloat(bits) * (scales[Math.floor(place / group)] as number);
      }
      return memory;
    },
  };
}

/** A number of E2M1 from its bits: one of sign, two of exponent, one of fraction. */
function fourBitFloat(bits: number): number {
  const sign = bits >= 8 ? -1 : 1;
  const exponent = Math.floor(bits / 2) % 4;
  const fraction = bits % 2;
  return exponent === 0 ? (sign * fraction) / 2 : sign * (1 + fraction / 2) * 2 ** (exponent - 1);
}
