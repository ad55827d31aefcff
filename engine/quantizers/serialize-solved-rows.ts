import { QuantloomError } from '../spec';
import type { SolvedRows } from './quantize-linear';
import type { QuantizedRows } from './row-block';

/** The arrays of QuantizedRows in the order of the file, with their types; errorsLearned, which may be missing, is the last. */
const FIELDS = {
  errorsBefore: Float64Array,
  errorsRefined: Float64Array,
  errorsRestarted: Float64Array,
  errors: Float64Array,
  energies: Float64Array,
  weightErrors: Float64Array,
  weightEnergies: Float64Array,
  scales: Float32Array,
  codes: Uint8Array,
  zeros: Uint8Array,
  errorsLearned: Float64Array,
} as const satisfies Record<keyof Required<QuantizedRows>, unknown>;
const NAMES = Object.keys(FIELDS) as (keyof QuantizedRows)[];

interface Header extends Omit<SolvedRows, 'blocks' | 'groupOf'> {
  readonly columns: number;
  /** By block, by field: number of elements. */
  readonly lengths: readonly (readonly number[])[];
}

/**
 * Solved rows as bytes, for the store: length of the header (uint32), header (JSON), groupOf, then the arrays of each block, all
 * little-endian. The same rows give the same bytes.
 */
export function serializeSolvedRows({ blocks, groupOf, ...rest }: SolvedRows): Uint8Array {
  const arraysOf = (block: QuantizedRows) => NAMES.flatMap((name) => block[name] ?? []);
  const lengths = blocks.map((block) => arraysOf(block).map((array) => array.length));
  const header: Header = { ...rest, columns: groupOf.length, lengths };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const arrays = [groupOf, ...blocks.flatMap(arraysOf)];
  return Buffer.concat([
    length,
    json,
    ...arrays.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
  ]);
}

/**
 * The inverse of serializeSolvedRows.
 *
 * @throws QuantloomError ArtifactCorrupt when the bytes are not of that length.
 */
export function parseSolvedRows(bytes: Uint8Array): SolvedRows {
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const text = new TextDecoder().decode(bytes.subarray(4, 4 + headerBytes));
  const { columns, lengths, ...rest } = JSON.parse(text) as Header;
  let offset = 4 + headerBytes;
  // Copies, since typed arrays must be aligned.
  const take = (byteLength: number): ArrayBuffer => {
    if (offset + byteLength > bytes.byteLength) {
      throw new QuantloomError('ArtifactCorrupt', `Solved rows end at byte ${bytes.byteLength}, within an array.`);
    }
    const part = new Uint8Array(byteLength);
    part.set(bytes.subarray(offset, offset + byteLength));
    offset += byteLength;
    return part.buffer;
  };
  const groupOf = new Int32Array(take(4 * columns));
  const blocks = lengths.map((counts) => {
    const fields = counts.map((count, i) => {
      const name = NAMES[i] as (typeof NAMES)[number];
      const Field = FIELDS[name];
      return [name, new Field(take(count * Field.BYTES_PER_ELEMENT))];
    });
    return Object.fromEntries(fields) as QuantizedRows;
  });
  return { ...rest, groupOf, blocks };
}
