import type { LinearDescription } from '../linear-storage';
import { fieldsAt, type PackedLanes, wordsOf } from '../verification/packed-fields';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/**
 * Decoder of the verification: no code shared with the packer, nor with the reader.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawPacked(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const bytes = (part: string) => stored.read(`${module}.${part}`);
  const has = (part: string) => stored.tensors.has(`${module}.${part}`);
  const [rows, columns] = shapeOf(await bytes('weight_shape'));
  const [packedRows = 0, words = 0] = stored.tensors.get(`${module}.weight_packed`)?.shape ?? [];
  const bits = (words * 32) / columns;
  if (bits !== settings.bits) throw new Error(`the tensors hold ${bits} bits, ${describedBy} ${settings.bits}`);
  if (packedRows !== rows) throw new Error(`weight_packed has ${packedRows} rows, weight_shape says ${rows}`);
  if (has('weight_zero_point') === settings.symmetric)
    throw new Error(
      `${settings.symmetric ? 'it has' : 'it lacks'} zero points, but ${describedBy} ${settings.symmetric ? '' : 'not '}symmetric`,
    );

  const scale = stored.tensors.get(`${module}.weight_scale`);
  const dtype = scale?.dtype ?? '';
  const scales = rawFloats(await bytes('weight_scale'), dtype);
  const groups = scales.length / rows;
  const codes: PackedLanes = {
    words: wordsOf(await bytes('weight_packed')),
    bits,
    planar: false,
    laneStride: words,
    wordStride: 1,
  };
  const middle = 2 ** (bits - 1);
  const zeros = settings.symmetric ? null : zeroPoints(await bytes('weight_zero_point'), { rows, groups, bits });
  const groupOf = columnGroups(has('weight_g_idx') ? await bytes('weight_g_idx') : null, columns, groups);
  const where = (index: number) => `group ${index % groups}, row ${Math.floor(index / groups)}`;
  return {
    rows,
    columns,
    scales: { part: 'weight_scale', dtype, values: scales, where },
    zeros: zeros && { part: 'weight_zero_point', values: zeros, offset: 0, bits, symmetric: false, where },
    groups: { part: 'weight_g_idx', ofColumn: groupOf, count: groups },

    weights(first, count, memory = new Float32Array(count * columns)) {
      const ofRows = new Uint8Array(count);
      for (let column = 0; column < columns; column++) {
        fieldsAt(codes, first, column, ofRows);
        for (let row = 0; row < count; row++) {
          const at = (first + row) * groups + (groupOf[column] as number);
          // Signed: 2^(b-1) less than what is stored, the zero point too.
          const value = (ofRows[row] as number) - middle - ((zeros?.[at] ?? middle) - middle);
          memory[row * columns + column] = value * (scales[at] as number);
        }
      }
      return memory;
    },
  };
}

function shapeOf(bytes: Buffer): [number, number] {
  return [Number(bytes.readBigInt64LE(0)), Number(bytes.readBigInt64LE(8))];
}

/** `[rows, groups]` */
function zeroPoints(
  bytes: Buffer,
  { rows, groups, bits }: { readonly rows: number; readonly groups: number; readonly bits: number },
): Uint8Array {
  const packed: PackedLanes = { words: wordsOf(bytes), bits, planar: false, laneStride: 1, wordStride: groups };
  const zeros = new Uint8Array(rows * groups);
  for (let row = 0; row < rows; row++) fieldsAt(packed, 0, row, zeros.subarray(row * groups, (row + 1) * groups));
  return zeros;
}

/** Old files name the group of each column, or -1; else they follow each other, equally long. */
function columnGroups(index: Buffer | null, columns: number, groups: number): Int32Array {
  const named = index && Int32Array.from({ length: columns }, (_, column) => index.readInt32LE(4 * column));
  if (named && !named.includes(-1)) return named;
  return Int32Array.from({ length: columns }, (_, column) => Math.floor((column * groups) / columns));
}
