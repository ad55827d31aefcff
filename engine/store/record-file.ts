import { createHash } from 'node:crypto';
import { QuantloomError } from '../spec';

/** A record counts as used just now when it is used this soon after: spares a write per look-up. */
export const USED_RECENTLY_MILLISECONDS = 600_000;

/**
 * A record as a file: the SHA-256 of the JSON, a line break, the JSON.
 *
 * @throws QuantloomError WrongUse when the value is not JSON.
 */
export function encodeRecord(value: unknown): Uint8Array {
  const json = JSON.stringify(value);
  if (json === undefined) throw new QuantloomError('WrongUse', `A record must be JSON; got ${typeof value}.`);
  return Buffer.from(`${hashOf(json)}\n${json}`, 'utf8');
}

/** @returns null when the file is cut off or has been changed. */
export function decodeRecord(content: Uint8Array): { readonly value: unknown } | null {
  const text = Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString('utf8');
  const json = text.slice(65);
  if (text.slice(0, 65) !== `${hashOf(json)}\n`) return null;
  return { value: JSON.parse(json) };
}

function hashOf(json: string): string {
  return createHash('sha256').update(json, 'utf8').digest('hex');
}
