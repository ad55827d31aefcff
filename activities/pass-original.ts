import type { ArtifactRef } from '../engine/spec';
import { type ActivationRefs, calibrateSlice } from './calibrate-slice';
import { dropActivations } from './drop-activations';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { type Effort, together } from './step';

/** One slice of the original model, behind the first stage of the next block. */
export interface PassedSlice extends Effort {
  readonly activations: ActivationRefs;
  /** By stage: the hidden state behind it, where it changes it. */
  readonly behind: Readonly<Record<string, ArtifactRef>>;
}

/**
 * Takes one slice through the original model: from behind a block's first stage to behind the first stage of the next block. Every stage is
 * a step of its own; what is not returned is dropped.
 */
export async function passOriginal(
  input: { plan: ArtifactRef; table: ArtifactRef; block: number; activations: ActivationRefs },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<PassedSlice> {
  const { plan, table, block } = input;
  const { blocks } = await viewModel(plan, runtime, attempt);
  const stagesOf = (index: number) => (blocks[index]?.stages ?? []).map((stage) => ({ block: index, stage }));
  const places = [...stagesOf(block).slice(1), ...stagesOf(block + 1).slice(0, 1)];
  const behind: Record<string, ArtifactRef> = {};
  const left = new Set<string>();
  const efforts: Effort[] = [];
  let { activations } = input;
  for (const { block, stage } of places) {
    const place = { plan, table, block, stage: stage.name, quantized: {}, gram: false };
    const result = await calibrateSlice({ ...place, activations }, runtime, attempt);
    ({ activations } = result);
    efforts.push(result);
    if (stage.changes.includes('hidden')) behind[stage.name] = activations.hidden as ArtifactRef;
    for (const { sha256 } of Object.values(activations)) left.add(sha256);
  }
  for (const { sha256 } of [
    ...Object.values(input.activations),
    ...Object.values(activations),
    ...Object.values(behind),
  ])
    left.delete(sha256);
  await dropActivations({ sha256s: [...left] }, runtime);
  return { activations, behind, ...together(efforts) };
}
