import type { LinearDescription } from '../linear-storage';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/**
 * Decoder of the verification: no code shared with the packer, nor with the reader. By the description of com.microsoft.MatMulNBits in
 * ContribOperators.md of onnxruntime.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawNBits(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const { bits, symmetric } = settings;
  const has = (part: string) => stored.tensors.has(`${module}.${part}`);
  const bytes = (part: string) => stored.read(`${module}.${part}`);
  const codesPart = `weight_${bits}bit`;
  if (!has(codesPart)) throw new Error(`${describedBy} ${bits} bits, and there is no ${codesPart}`);
  if (has('zero_points') === symmetric) {
    throw new Error(
      `${symmetric ? 'it has' : 'it lacks'} zero points, but ${describedBy} ${symmetric ? '' : 'not '}symmetric`,
    );
  }
  const [rows = 0, columns = 0] = integers(await bytes('shape'));
  const [ofRows = 0, blocks = 0, blockBytes = 0] = stored.tensors.get(`${module}.${codesPart}`)?.shape ?? [];
  const perByte = 8 / bits;
  const blockSize = blockBytes * perByte;
  if (ofRows !== rows) throw new Error(`${codesPart} has ${ofRows} rows, the operator ${rows}`);
  if ((blocks - 1) * blockSize >= columns || blocks * blockSize < columns) {
    throw new Error(`${blocks} blocks of ${blockSize} are not those of ${columns} columns`);
  }
  const codes = await bytes(codesPart);
  const scales = rawFloats(await bytes('scales'), 'F32');
  if (scales.length !== rows * blocks) throw new Error(`${scales.length} scales for ${rows * blocks} blocks`);
  const zeros = symmetric ? null : unpackedZeros(await bytes('zero_points'), { rows, blocks, perByte });
  const placeOf = inverse(has('column_order') ? integers(await bytes('column_order')) : null, columns);
  const middle = 2 ** bits / 2;
  const where = (index: number) => `block ${index % blocks}, row ${Math.floor(index / blocks)}`;
  return {
    rows,
    columns,
    scales: { part: 'scales', dtype: 'F32', values: scales, where },
    zeros: zeros && { part: 'zero_points', values: zeros, offset: 0, bits, symmetric: false, where },
    groups: { part: 'column_order', ofColumn: placeOf.map((at) => Math.floor(at / blockSize)), count: blocks },

    weights(first, count, memory = new Float32Array(count * columns)) {
      for (let row = first; row < first + count; row++) {
        for (let column = 0; column < columns; column++) {
          const place = placeOf[column] as number;
          const block = row * blocks + Math.floor(place / blockSize);
          const value = lane(codes[block * blockBytes + Math.floor((place % blockSize) / perByte)], place, perByte);
          memory[(row - first) * columns + column] = (value - (zeros?.[block] ?? middle)) * (scales[block] as number);
        }
      }
      return memory;
    },
  };
}

/** The number that stands at this place, the first in the lowest bits. */
function lane(byte: number | undefined, place: number, perByte: number): number {
  const base = 2 ** (8 / perByte);
  return Math.floor((byte as number) / base ** (place % perByte)) % base;
}

function unpackedZeros(
  bytes: Buffer,
  { rows, blocks, perByte }: { readonly rows: number; readonly blocks: number; readonly perByte: number },
): Uint8Array {
  const rowBytes = Math.ceil(blocks / perByte);
  if (bytes.length !== rows * rowBytes) throw new Error(`zero_points has ${bytes.length} bytes`);
  const zeros = new Uint8Array(rows * blocks);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      zeros[row * blocks + block] = lane(bytes[row * rowBytes + Math.floor(block / perByte)], block, perByte);
    }
  }
  return zeros;
}

/** Where each column stands. */
function inverse(order: readonly number[] | null, columns: number): Int32Array {
  if (order === null) return Int32Array.from({ length: columns }, (_, column) => column);
  const places = new Int32Array(columns).fill(-1);
  for (const [place, column] of order.entries()) places[column] = place;
  if (order.length !== columns || places.includes(-1)) throw new Error('column_order does not name every column once');
  return places;
}

function integers(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 8 }, (_, at) => Number(bytes.readBigInt64LE(8 * at)));
}
