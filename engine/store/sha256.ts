import { setImmediate as nextTurn } from 'node:timers/promises';
import { QuantloomError } from '../spec';
import { ContentHash } from './content-hash';

/** Bytes that are hashed or moved in one go: 2 to 5 ms. */
export const CHUNK_BYTES = 4 << 20;

const HEX_SHA256 = /^[0-9a-f]{64}$/;

/**
 * Refuses what is not a lower-case hexadecimal SHA-256, before it becomes part of a path.
 *
 * @throws QuantloomError WrongUse.
 */
export function requireSha256(value: string, what: string): void {
  if (HEX_SHA256.test(value)) return;
  throw new QuantloomError(
    'WrongUse',
    `${what} must be 64 lower-case hexadecimal digits; got ${JSON.stringify(value)}.`,
  );
}

/** SHA-256 as lower-case hex. Other work gets its turn between the chunks. */
export async function sha256Of(content: Uint8Array): Promise<string> {
  const hash = new ContentHash();
  for (let start = 0; start < content.byteLength; start += CHUNK_BYTES) {
    if (start > 0) await nextTurn();
    await hash.update(content.subarray(start, start + CHUNK_BYTES));
  }
  return hash.digest();
}
