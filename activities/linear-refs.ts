import type { ArtifactRef } from '../engine/spec';
import { readDocument } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';

/** More than a layer without experts has in a stage. */
export const MOST_NAMED = 6;

/**
 * Quantized linears by module name. Those of a stage that has many are one document of such, under a name that is no module's: every slice that
 * applies the linears of a layer with experts would carry hundreds of references.
 */
export type LinearRefs = Readonly<Record<string, ArtifactRef>>;

/** With every linear under its own name. */
export async function namedLinears(refs: LinearRefs, runtime: ActivityRuntime, attempt: Attempt): Promise<LinearRefs> {
  const named: Record<string, ArtifactRef> = {};
  for (const [name, ref] of Object.entries(refs)) {
    if (ref.kind !== 'document') named[name] = ref;
    else Object.assign(named, await readDocument<LinearRefs>(ref, runtime, attempt));
  }
  return named;
}
