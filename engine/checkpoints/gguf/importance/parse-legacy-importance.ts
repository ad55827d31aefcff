import { HeaderFault } from '../container/header-reader';
import { MAX_KEY_BYTES, MAX_TENSORS } from '../container/limits';
import { floatsAt } from './floats-at';
import type { ImportanceEntry, ImportanceFile } from './importance-file';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The binary form that llama-imatrix wrote before it wrote GGUF: int32 number of entries; each an int32 length and a name, int32 calls, int32
 * number of values, and these in float32, the mean squares times the calls; at the end int32 chunks, int32 length and name of the text. The end
 * may be missing.
 *
 * @throws HeaderFault saying what is wrong.
 */
export function parseLegacyImportance(bytes: Uint8Array): ImportanceFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (count: number, what: string): number => {
    if (count > bytes.length - at) throw new HeaderFault(`it ends at byte ${bytes.length}, within ${what}`);
    at += count;
    return at - count;
  };
  const int32 = (what: string, least: number, most: number): number => {
    const value = view.getInt32(take(4, what), true);
    if (value < least || value > most) throw new HeaderFault(`${what} is ${value}; ${least} to ${most} can be`);
    return value;
  };
  const string = (what: string, least: number): string => {
    const length = int32(`the length of ${what}`, least, MAX_KEY_BYTES);
    const start = take(length, what);
    try {
      return decoder.decode(bytes.subarray(start, start + length));
    } catch {
      throw new HeaderFault(`${what} is not UTF-8`);
    }
  };
  const count = int32('the number of entries, if this is a legacy importance matrix,', 1, MAX_TENSORS);
  const entries = new Map<string, ImportanceEntry>();
  for (let i = 0; i < count; i++) {
    const name = string(`the name of entry ${i}`, 1);
    if (entries.has(name)) throw new HeaderFault(`the entry ${JSON.stringify(name)} stands twice`);
    const calls = int32(`the calls of ${JSON.stringify(name)}`, 0, 2 ** 31 - 1);
    const columns = int32(`the number of values of ${JSON.stringify(name)}`, 1, 2 ** 31 - 1);
    const start = take(4 * columns, `the values of ${JSON.stringify(name)}`);
    const sums = floatsAt(bytes, start, 4 * columns);
    entries.set(name, { columns, sums, counts: Float32Array.of(calls) });
  }
  if (at === bytes.length) return { datasets: [], chunks: 0, chunkTokens: null, entries };
  const chunks = int32('the number of chunks', 0, 2 ** 31 - 1);
  return { datasets: [string('the name of the text', 0)], chunks, chunkTokens: null, entries };
}
