import type { LinearDescription } from '../linear-storage';
import { wordsOf } from '../verification/packed-fields';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/**
 * Decoder of the verification: no code shared with the packer, nor with the reader.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawLinear(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const shapeOf = (part: string) => stored.tensors.get(`${module}.${part}`)?.shape ?? [];
  const [columns = 0, perColumn = 0] = shapeOf('qweight');
  const [groups = 0, rows = 0] = shapeOf('scales');
  if (perColumn * 8 !== rows) throw new Error(`qweight has ${perColumn} words a column, scales ${rows} rows`);
  const groupSize = columns / groups;
  if (groupSize !== (settings.groupSize === -1 ? columns : settings.groupSize)) {
    throw new Error(`the tensors hold groups of ${groupSize} columns, ${describedBy} ${settings.groupSize}`);
  }
  const dtype = stored.tensors.get(`${module}.scales`)?.dtype ?? '';
  const bytes = (part: string) => stored.read(`${module}.${part}`);
  const scales = rawFloats(await bytes('scales'), dtype);
  const codes = wordsOf(await bytes('qweight'));
  const packedZeros = wordsOf(await bytes('qzeros'));
  const zeros = Uint8Array.from({ length: groups * rows }, (_, at) =>
    nibble(packedZeros, Math.floor(at / rows), at % rows, perColumn),
  );
  const where = (index: number) => `group ${Math.floor(index / rows)}, row ${index % rows}`;
  return {
    rows,
    columns,
    scales: { part: 'scales', dtype, values: scales, where },
    zeros: { part: 'qzeros', values: zeros, offset: 0, bits: 4, symmetric: false, where },
    groups: {
      part: 'qweight',
      ofColumn: Int32Array.from({ length: columns }, (_, column) => Math.floor(column / groupSize)),
      count: groups,
    },

    weights(first, count, memory = new Float32Array(count * columns)) {
      for (let column = 0; column < columns; column++) {
        const group = Math.floor(column / groupSize) * rows + first;
        for (let row = 0; row < count; row++) {
          const code = nibble(codes, column, first + row, perColumn) - (zeros[group + row] as number);
          memory[row * columns + column] = code * (scales[group + row] as number);
        }
      }
      return memory;
    },
  };
}

/** Even rows of a word fill its lower half, odd ones its upper. */
function nibble(words: Uint32Array, line: number, row: number, perLine: number): number {
  const place = row % 8;
  const shift = (place % 2) * 16 + Math.floor(place / 2) * 4;
  return ((words[line * perLine + Math.floor(row / 8)] as number) >>> shift) % 16;
}
