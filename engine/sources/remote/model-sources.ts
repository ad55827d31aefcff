import { hubSource } from '../hub/hub-source';
import type { ModelSource } from './model-source';

const SOURCES: readonly ModelSource[] = [hubSource];

/** The kind of place that an address names; null for a path. */
export function sourceOf(address: string): ModelSource | null {
  return SOURCES.find(({ scheme }) => address.startsWith(scheme)) ?? null;
}

export const SOURCE_SCHEMES: readonly string[] = SOURCES.map(({ scheme }) => scheme);
