import { createHash } from 'node:crypto';
import type { ArtifactRef } from '../engine/spec';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The key under which a computation's result is recorded: SHA-256 of its name, its version and its resolved input.
 *
 * An artifact counts by its content alone: where it lies and what produced it are left out, so the same work on the same bytes has
 * the same key on every machine and in every run.
 */
export function computationKey(step: string, version: number, input: unknown): string {
  const identity = canonicalJson({ step, version, input: contentOnly(input) });
  return createHash('sha256').update(identity).digest('hex');
}

/** JSON with sorted keys, so that equal values have equal text. `undefined` fields are left out. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function contentOnly(value: unknown): Json {
  if (Array.isArray(value)) return value.map(contentOnly);
  if (value === null || typeof value !== 'object') return value as Json;
  if ('sha256' in value && 'kind' in value) {
    const { sha256, dtype, shape, transposed } = value as Pick<
      ArtifactRef,
      'sha256' | 'dtype' | 'shape' | 'transposed'
    >;
    return { sha256, dtype: dtype ?? null, shape: shape ?? null, ...(transposed && { transposed }) };
  }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, contentOnly(part)]));
}
