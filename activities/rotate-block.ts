import type { TensorRotation } from '../engine/models';
import { rotatedDtype, rotateTensor } from '../engine/rotation';
import type { ArtifactRef, TensorTable } from '../engine/spec';
import { readDocument, viewModel } from './model-view';
import { readTensor } from './read-tensor';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform, together } from './step';

export interface RotatedBlock extends Effort {
  /** Document: TensorTable of the block's tensors in the rotated model. */
  readonly tensors: ArtifactRef;
}

interface RotateInput {
  readonly tensor: ArtifactRef;
  readonly gain: ArtifactRef | null;
  readonly rotation: TensorRotation;
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

const rotateStep = defineStep({
  name: 'rotate-tensor',
  version: 1,
  run: async ({ tensor, gain, rotation, dtype }: RotateInput, bench) => {
    const rotated = await rotateTensor({
      tensor: await readTensor(tensor, bench),
      gain: gain && (await readTensor(gain, bench)),
      rotation,
      dtype,
      signal: bench.attempt.signal,
    });
    return { rotated: await bench.write('weight', rotated.data, { dtype, shape: rotated.shape }) };
  },
});

const listStep = defineStep({
  name: 'rotated-tensors',
  version: 1,
  run: async ({ tensors }: { readonly tensors: TensorTable }, bench) => ({
    tensors: await bench.writeDocument(tensors),
  }),
});

/** Rotates the tensors of one block; without `block` those that no block owns (embedding, final norm, a head that is kept). */
export async function rotateBlock(
  input: { plan: ArtifactRef; table: ArtifactRef; block: number | null },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<RotatedBlock> {
  const { plan, architecture, shape } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const rotations = architecture.rotations(shape, (tensor) => tensor in plan.tensors);
  const names = input.block === null ? plan.remainder : (plan.blocks[input.block]?.tensors ?? []);
  const tensors: Record<string, ArtifactRef> = {};
  const efforts: Effort[] = [];
  for (const name of names) {
    const rotation = rotations?.get(name);
    if (!rotation) continue;
    attempt.progress({ tensor: name });
    const result = await perform(
      rotateStep,
      {
        tensor: table[name] as ArtifactRef,
        gain: rotation.gain ? (table[rotation.gain] as ArtifactRef) : null,
        rotation,
        dtype: rotatedDtype(plan, name),
      },
      runtime,
      attempt,
    );
    tensors[name] = result.rotated;
    efforts.push(result);
  }
  return { ...(await perform(listStep, { tensors }, runtime, attempt)), ...together(efforts) };
}
