import { bytesOf } from '../engine/numbers';
import { matricesOfStack, type ReadFloats } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import type { Bench } from './step';

/** Whether matrices of several inputs are in the artifact, one after the other. */
export function isStack(ref: Pick<ArtifactRef, 'shape'> | null | undefined): boolean {
  return ref?.shape?.length === 1;
}

/** Reads on in memory that is used again and again. */
export function floatsOf(reader: ArtifactReader): ReadFloats {
  let memory = new Float32Array();
  return async (floats) => {
    if (memory.length < floats) memory = new Float32Array(floats);
    const target = memory.subarray(0, floats);
    await reader.read(bytesOf(target));
    return target;
  };
}

/** The Hessian of one of a stage's inputs. */
export interface HessianOfInput {
  /** In the order of `capturedInputs`. */
  readonly input: number;
  /** `[columns, columns]`; for as long as `use` lasts. */
  readonly hessian: Float32Array;
  readonly tokens: number;
}

/** Calls `use` with the Hessian of every input, one after the other: in memory of one. What is read has proven right when all of it is. */
export async function eachHessian(
  stack: ArtifactRef,
  { runtime, withArtifacts }: Pick<Bench, 'runtime' | 'withArtifacts'>,
  use: (hessian: HessianOfInput) => Promise<void>,
): Promise<void> {
  const reader = await withArtifacts([stack], () => runtime.store.open(stack.sha256));
  try {
    let input = 0;
    for await (const { matrix, tokens } of matricesOfStack(floatsOf(reader))) {
      await use({ input, hessian: matrix, tokens });
      input += 1;
    }
    await reader.finish();
  } finally {
    await reader.close();
  }
}
