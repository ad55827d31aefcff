import type { ModelShape, Stage } from '../engine/models/architecture';
import { bytesOf, float32View } from '../engine/numbers';
import type { ArtifactRef, DType, FloatTensor, TensorTable } from '../engine/spec';
import { type StoredWeight, tensorThread } from '../engine/tensor-thread';
import { readDocument, viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { type Bench, defineStep, type Effort, perform } from './step';

export type ActivationRefs = Readonly<Record<string, ArtifactRef>>;

export interface CalibratedSlice extends Effort {
  readonly activations: ActivationRefs;
  /** F32 `[K, K]`: XᵀX over the slice; null when not asked for. */
  readonly gram: ArtifactRef | null;
  /** Tokens that the gram sums over. */
  readonly tokens: number;
  readonly nonFiniteSequences: number;
}

interface StageInput {
  readonly architecture: string;
  readonly shape: ModelShape;
  readonly stage: Stage;
  readonly activations: ActivationRefs;
  /** By tensor name; a quantized linear stands under `<module>.weight`. */
  readonly weights: Readonly<Record<string, ArtifactRef>>;
  readonly gram: boolean;
}

const stageStep = defineStep({
  name: 'calibrate-slice',
  version: 1,
  run: async (input: StageInput, bench): Promise<Omit<CalibratedSlice, keyof Effort>> => {
    const { architecture, shape, stage, gram } = input;
    const { threads } = bench.runtime;
    const task = {
      runner: { architecture, shape, threads },
      stage,
      gram,
      activations: await readActivations(input.activations, bench),
      weights: await readWeights(input.weights, bench),
    };
    const result = await tensorThread().runStage(task, bench.attempt.signal);
    const activations: Record<string, ArtifactRef> = {};
    for (const name of stage.leaves) {
      const { data, shape } = result.activations.get(name) as FloatTensor;
      activations[name] = stage.changes.includes(name)
        ? await bench.write('activation', bytesOf(data), { dtype: 'F32', shape })
        : (input.activations[name] as ArtifactRef);
    }
    const columns = stage.captures[0]?.columns as number;
    return {
      activations,
      gram: result.gram
        ? await bench.write('hessian', bytesOf(result.gram), { dtype: 'F32', shape: [columns, columns] })
        : null,
      tokens: result.tokens,
      nonFiniteSequences: result.nonFiniteSequences,
    };
  },
});

async function readActivations(refs: ActivationRefs, bench: Bench): Promise<Record<string, FloatTensor>> {
  const activations: Record<string, FloatTensor> = {};
  for (const [name, ref] of Object.entries(refs)) {
    activations[name] = { shape: ref.shape as readonly number[], data: float32View(await bench.read(ref)) };
  }
  return activations;
}

async function readWeights(
  refs: Readonly<Record<string, ArtifactRef>>,
  bench: Bench,
): Promise<Record<string, StoredWeight>> {
  const weights: Record<string, StoredWeight> = {};
  for (const [name, ref] of Object.entries(refs)) {
    const content = await bench.read(ref);
    weights[name] =
      ref.kind === 'quantized-linear'
        ? { quantized: content }
        : { dtype: ref.dtype as DType, shape: ref.shape as readonly number[], data: content };
  }
  return weights;
}

/** Runs one stage of one block on one slice of the calibration set. */
export async function calibrateSlice(
  input: {
    plan: ArtifactRef;
    table: ArtifactRef;
    block: number;
    stage: string;
    activations: ActivationRefs;
    /** By module name: the linears that were quantized already; the others are applied with their original weights. */
    quantized: Readonly<Record<string, ArtifactRef>>;
    gram: boolean;
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<CalibratedSlice> {
  const { architecture, shape, blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = blocks[input.block]?.stages.find(({ name }) => name === input.stage) as Stage;
  const weights: Record<string, ArtifactRef> = {};
  for (const tensor of Object.values(stage.parameters)) weights[tensor] = table[tensor] as ArtifactRef;
  for (const { name, bias } of stage.applies) {
    weights[`${name}.weight`] = input.quantized[name] ?? (table[`${name}.weight`] as ArtifactRef);
    if (bias) weights[`${name}.bias`] = table[`${name}.bias`] as ArtifactRef;
  }
  const activations = Object.fromEntries(stage.reads.map((name) => [name, input.activations[name] as ArtifactRef]));
  attempt.progress({ block: input.block, stage: input.stage });
  return perform(
    stageStep,
    { architecture: architecture.name, shape, stage, activations, weights, gram: input.gram },
    runtime,
    attempt,
  );
}
