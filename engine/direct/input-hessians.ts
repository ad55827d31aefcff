import {
  matricesOfStack,
  mergeHessians,
  mergeStacks,
  needsHessian,
  type PartialHessian,
  type PreparedHessian,
  prepareHessian,
  type ReadFloats,
} from '../quantizers';
import type { LinearPlan } from '../spec';

/** Of one input that a stage captures. */
export interface Hessian {
  readonly values: Float32Array;
  /** Of an expert's: how many came to it. */
  readonly tokens?: number;
}

/** By the name of a linear, which of a stage's inputs is its own; null: there is one. */
export type Inputs = ReadonlyMap<string, number> | null;

/** What a stage's slices have summed, merged: by input. */
export async function mergeInputs(parts: readonly PartialHessian[], inputs: Inputs): Promise<Hessian[]> {
  if (parts.length === 0) return [];
  if (!inputs) return [{ values: Float32Array.from((await mergeHessians(parts)).hessian) }];
  const merged: Float32Array[] = [];
  const write = async (floats: Float32Array) => {
    merged.push(floats);
  };
  await mergeStacks(
    parts.map(({ gram }) => readerOf([gram])),
    write,
    {},
  );
  const hessians: Hessian[] = [];
  for await (const { matrix, tokens } of matricesOfStack(readerOf(merged))) hessians.push({ values: matrix, tokens });
  return hessians;
}

/** Reads arrays one after the other; what is read lies within one. */
function readerOf(arrays: readonly Float32Array[]): ReadFloats {
  let [at, first] = [0, 0];
  return async (floats) => {
    while (first === arrays[at]?.length) {
      at += 1;
      first = 0;
    }
    first += floats;
    return (arrays[at] as Float32Array).subarray(first - floats, first);
  };
}

/** What a linear is quantized with. */
export interface GivenHessian {
  readonly hessian: PreparedHessian | null;
  readonly tokens?: number;
}

/** Calls `use` with every linear and its Hessian, where it needs one. Linears that share an input come one after the other: it is prepared once. */
export async function withHessians(
  linears: readonly LinearPlan[],
  { hessians, inputs }: { readonly hessians: readonly Hessian[]; readonly inputs: Inputs },
  use: (linear: LinearPlan, given: GivenHessian) => Promise<void>,
): Promise<void> {
  let known = -1;
  let prepared: PreparedHessian | null = null;
  for (const linear of linears) {
    const input = inputs?.get(linear.name) ?? 0;
    const { values, tokens } = hessians[input] ?? {};
    if (known !== input) prepared = values ? await prepareHessian(values) : null;
    known = input;
    const hessian = needsHessian(linear) ? prepared : null;
    await use(linear, tokens === undefined ? { hessian } : { hessian, tokens });
  }
}
