import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from './manifest';

/** A file of a checkpoint, as the manifest lists it. */
export type OutputFile = Manifest['files'][number];

export function describeFile(name: string, content: Uint8Array): OutputFile {
  return { name, bytes: content.byteLength, sha256: createHash('sha256').update(content).digest('hex') };
}

export async function writeText(directory: string, name: string, text: string): Promise<OutputFile> {
  await writeFile(join(directory, name), text);
  return describeFile(name, Buffer.from(text));
}
