import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { QuantloomError } from '../spec';

/**
 * Reads a JSON file that holds one object.
 *
 * @throws QuantloomError InvalidModel naming the file when it is missing, over `maxBytes`, not UTF-8, not JSON or not an object.
 */
export async function readJsonObject(path: string, maxBytes: number): Promise<Record<string, unknown>> {
  const invalid = (fault: string, cause?: unknown) =>
    new QuantloomError('InvalidModel', `${path} ${fault}.`, { cause });

  let bytes: Buffer;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw invalid('is not a file');
    if (found.size > maxBytes) throw invalid(`has ${found.size} bytes, over the limit of ${maxBytes}`);
    bytes = await readFile(path);
  } catch (cause) {
    if (QuantloomError.is(cause)) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw invalid(`is missing: a model's directory has ${basename(path)}`, cause);
    throw invalid(`cannot be read (${message})`, cause);
  }

  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const reason = (cause as Error).message.replace(/\s+/g, ' ').slice(0, 200);
    throw invalid(`is not valid JSON (${reason})`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('does not hold a JSON object');
  return value as Record<string, unknown>;
}
