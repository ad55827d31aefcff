import { bytesOf, float32View, int32View } from '../../numbers';
import { QuantloomError, type Tensor } from '../../spec';
import type { NBitsWeight, StoredBits } from './nbits-weight';

/** Codes, by their width. */
export const CODES = { 2: 'weight_2bit', 4: 'weight_4bit', 8: 'weight_8bit' } as const;
export const SCALES = 'scales';
export const ZERO_POINTS = 'zero_points';
/** I64 `[2]`: rows and columns. A graph has them as attributes. */
export const SHAPE = 'shape';
/** I64 `[columns]`, where columns are not in order. A graph has it before the operator. */
export const COLUMN_ORDER = 'column_order';

/**
 * After the name of codes: the same bytes as MatMulNBits takes them, `[rows, blocks, blockSize * bits / 8]`, where GatherBlockQuantized has them as
 * `[rows, blocks * blockSize * bits / 8]`.
 */
export const AS_BLOCKS = '_blocks';

type InputTensor = Tensor & { readonly dtype: 'U8' | 'F32' };
export type NamedTensor = readonly [name: string, tensor: InputTensor];

/** The inputs of a MatMulNBits node behind x, by name, in their order: B, scales, and zero points where there are some. */
export function nbitsTensors(module: string, linear: NBitsWeight): Map<string, InputTensor> {
  const { rows, bits, blockSize, weight, scales, zeroPoints } = linear;
  const blocks = scales.length / rows;
  const tensors = new Map<string, InputTensor>([
    [`${module}.${CODES[bits]}`, { dtype: 'U8', shape: [rows, blocks, (blockSize * bits) / 8], data: weight }],
    [`${module}.${SCALES}`, { dtype: 'F32', shape: [rows, blocks], data: bytesOf(scales) }],
  ]);
  if (zeroPoints) {
    tensors.set(`${module}.${ZERO_POINTS}`, { dtype: 'U8', shape: [rows, zeroPoints.length / rows], data: zeroPoints });
  }
  return tensors;
}

/** The same with what a graph says of them elsewhere: all that a shard has of a linear. */
export function packedTensors(module: string, linear: NBitsWeight): Map<string, Tensor> {
  const { rows, columns, columnOrder } = linear;
  const tensors = new Map<string, Tensor>(nbitsTensors(module, linear));
  tensors.set(`${module}.${SHAPE}`, int64Tensor([rows, columns]));
  if (columnOrder) tensors.set(`${module}.${COLUMN_ORDER}`, int64Tensor(columnOrder));
  return tensors;
}

/** @param read a tensor of the module by its last part; null: there is none. @throws QuantloomError InvalidCheckpoint. */
export async function readPacked(
  module: string,
  where: string,
  read: (part: string) => Promise<Tensor | null>,
): Promise<NBitsWeight> {
  const required = async (part: string) => {
    const tensor = await read(part);
    if (tensor) return tensor;
    throw invalid(`${module}.${part} is missing`);
  };
  const [rows = 0, columns = 0] = int64Values(await required(SHAPE));
  for (const bits of [2, 4, 8] as const satisfies readonly StoredBits[]) {
    const codes = await read(CODES[bits]);
    if (!codes) continue;
    const [storedRows = 0, blocks = 0, bytes = 0] = codes.shape;
    const blockSize = (bytes * 8) / bits;
    if (storedRows !== rows || blocks !== Math.ceil(columns / blockSize)) {
      throw invalid(`${module}.${CODES[bits]} has shape [${codes.shape.join(', ')}] for ${rows} x ${columns} weights`);
    }
    const scales = await required(SCALES);
    const zeroPoints = await read(ZERO_POINTS);
    const zeroBytes = Math.ceil((blocks * bits) / 8);
    if (scales.shape.join() !== `${rows},${blocks}`) throw invalid(`${module}.${SCALES} is not one for each block`);
    if (zeroPoints && zeroPoints.shape.join() !== `${rows},${zeroBytes}`) {
      throw invalid(`${module}.${ZERO_POINTS} is not one for each block`);
    }
    const order = await read(COLUMN_ORDER);
    const columnOrder = order && int64Values(order);
    if (columnOrder && !isOrder(columnOrder, columns)) throw invalid(`${module}: columns are in no order`);
    return {
      ...{ rows, columns, bits, blockSize },
      weight: codes.data,
      scales: float32View(scales.data),
      zeroPoints: zeroPoints?.data ?? null,
      columnOrder,
    };
  }
  throw invalid(`${module} has no codes`);

  function invalid(fault: string): QuantloomError {
    return new QuantloomError('InvalidCheckpoint', `${where}: ${fault}.`, { details: { module } });
  }
}

export function int64Tensor(values: ArrayLike<number>): Tensor {
  return {
    dtype: 'I64',
    shape: [values.length],
    data: bytesOf(BigInt64Array.from(Array.from(values), (value) => BigInt(value))),
  };
}

/** They fit into 31 bits: sizes, and indices of columns. */
export function int64Values({ data }: Tensor): Int32Array {
  return int32View(data).filter((_, at) => at % 2 === 0);
}

function isOrder(order: Int32Array, columns: number): boolean {
  return order.length === columns && new Set(order).size === columns && order.every((at) => at >= 0 && at < columns);
}
