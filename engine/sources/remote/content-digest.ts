import { createHash, type Hash } from 'node:crypto';
import type { RemoteFile } from './model-source';

/** What a file's digest is computed with while it comes in; null where nothing but the size is known. */
export function contentDigest({ digest, bytes }: Pick<RemoteFile, 'digest' | 'bytes'>): Hash | null {
  if (digest === null) return null;
  if (digest.algorithm === 'sha256') return createHash('sha256');
  // Git's object format: a header, then the content.
  return createHash('sha1').update(`blob ${bytes}\0`);
}
