import { decodeFloats } from '../../numbers';
import { QuantloomError } from '../../spec';
import type { LinearStorage } from '../linear-storage';
import { rawFloats } from '../verification/raw-floats';

const WEIGHT = 'weight';

/** Linears that are weights again, in the form of the source. Only a manifest tells them from those that were kept. */
export const floatStorage: LinearStorage = {
  method: 'dequantized',
  grids: [],
  parts: [WEIGHT],
  markers: [],
  floats: true,
  shape: (_settings, shapeOf) => shapeOf(WEIGHT) as [number, number],
  tensors: () => ({}),

  async read(module, { where, read }) {
    const tensor = await read(`${module}.${WEIGHT}`);
    if (tensor) return { shape: tensor.shape, data: decodeFloats(tensor) };
    throw new QuantloomError('InvalidCheckpoint', `${where}: ${module}.${WEIGHT} is missing.`, { details: { module } });
  },

  async readRaw(module, stored) {
    const name = `${module}.${WEIGHT}`;
    const { dtype, shape } = stored.tensors.get(name) ?? { dtype: '', shape: [] };
    const [rows = 0, columns = 0] = shape;
    const bytes = await stored.read(name);
    const rowBytes = bytes.length / rows;
    return {
      rows,
      columns,
      scales: { part: WEIGHT, dtype, values: new Float32Array(0), where: String },
      zeros: null,
      groups: null,
      weights(first, count, memory = new Float32Array(count * columns)) {
        memory.set(rawFloats(bytes.subarray(first * rowBytes, (first + count) * rowBytes), dtype));
        return memory;
      },
    };
  },
};
