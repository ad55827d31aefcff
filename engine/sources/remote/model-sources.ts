import { basename, posix } from 'node:path';
import { hubSource } from '../hub/hub-source';
import { s3Source } from '../s3/s3-source';
import type { ModelSource } from './model-source';

const SOURCES: readonly ModelSource[] = [hubSource, s3Source];

/** The kind of place that an address names; null for a path. */
export function sourceOf(address: string): ModelSource | null {
  return SOURCES.find(({ scheme }) => address.startsWith(scheme)) ?? null;
}

export const SOURCE_SCHEMES: readonly string[] = SOURCES.map(({ scheme }) => scheme);

/** Whether an address names a content that cannot change; false for a path. */
export function isPinned(model: string): boolean {
  return sourceOf(model)?.isPinned(model) ?? false;
}

/** What a model is called: the last part of its path without the suffix of a weight file, or of its address without the revision. */
export function nameOfModel(model: string): string {
  const source = sourceOf(model);
  return source ? posix.basename(source.folder(model)) : basename(model).replace(/\.gguf$/i, '');
}
