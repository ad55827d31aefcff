import { CPU, type DeviceKind, deviceKind, deviceOutOfMemory, isOutOfMemory } from '../engine/devices';
import { activationDtype, activationFeatures, type MismatchedLinear, stageBatchSequences } from '../engine/graphs';
import { preferredKernels } from '../engine/kernels';
import { calibratingStage, capturedInputs, residualEnd } from '../engine/models';
import type { ModelShape, Stage } from '../engine/models/architecture';
import { bytesOf } from '../engine/numbers';
import { forwardOperations, gramMultiplications } from '../engine/planning';
import { type ArtifactRef, type DType, elementCount, type QuantizationSpec, type TensorTable } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import { type StoredWeight, tensorThreads } from '../engine/tensor-thread';
import { borrowMemory, type TakeMemory } from './borrow-memory';
import { type LinearRefs, namedLinears } from './linear-refs';
import { readDocument, stageOf, viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { deviceWithin, rememberBatch } from './smaller-batch';
import { type ArtifactWriting, type Bench, defineStep, type Effort, perform } from './step';
import { streamSlice } from './stream-slice';

export type ActivationRefs = Readonly<Record<string, ArtifactRef>>;

export interface CalibratedSlice extends Effort {
  readonly activations: ActivationRefs;
  /** F32 `[K, K]`: XᵀX over the slice; of several inputs a stack, `[floats]`. null when not asked for. */
  readonly gram: ArtifactRef | null;
  /** Tokens that the gram sums over. */
  readonly tokens: number;
  readonly nonFiniteSequences: number;
  /** Document: the largest magnitude of each captured input, `number[]`; absent when not asked for. */
  readonly magnitudes?: ArtifactRef;
  /** What the captured input knows of what has gone wrong so far; absent when not asked for. */
  readonly mismatch?: MismatchOfSlice;
}

export interface MismatchOfSlice {
  /** F32 `[2, rows, columns]`: Σ e xᵀ over the part of the slice that the original model has been run on, by halves (MismatchSum). */
  readonly sum: ArtifactRef;
  /** F32 `[columns, columns]`: Σ x xᵀ over the same tokens; null where that is the gram of the slice. */
  readonly gram: ArtifactRef | null;
  readonly tokens: readonly [number, number];
}

interface StageInput {
  readonly architecture: string;
  readonly shape: ModelShape;
  readonly stage: Stage;
  readonly activations: ActivationRefs;
  /** By tensor name; a quantized linear stands under `<module>.weight`. */
  readonly weights: Readonly<Record<string, ArtifactRef>>;
  readonly gram: boolean;
  /** Absent when not asked for. */
  readonly magnitudes?: true;
  readonly precision: QuantizationSpec['calibration']['precision'];
  /** Absent: the CPU. Each kind rounds in its own way, and what was lost has to come back with the same bytes. */
  readonly device?: DeviceKind;
  /** Absent when not asked for. */
  readonly mismatch?: MismatchedLinear & {
    /** `[at most sequences, sequenceLength, hiddenSize]`: the original model's hidden state behind it. */
    readonly original: ArtifactRef;
  };
}

/** More than 2 GiB cannot be written at once. */
const FLOATS_AT_ONCE = 1 << 26;

const stageStep = defineStep({
  name: 'calibrate-slice',
  version: 4,
  run: async (input: StageInput, bench): Promise<Omit<CalibratedSlice, keyof Effort>> => {
    const { architecture, shape, stage, gram, magnitudes = false, mismatch } = input;
    const [sequences, sequenceLength] = (input.activations[stage.reads[0] as string] as ArtifactRef).shape as [
      number,
      number,
    ];
    const dimensions = (name: string) => [sequences, sequenceLength, activationFeatures(name, shape)];
    const { threads } = bench.runtime;
    const work = JSON.stringify([stage.name, sequenceLength, shape.hiddenSize, shape.intermediateSize, shape.heads]);
    const device = deviceWithin(bench.runtime.device ?? CPU, bench.attempt.batch, work);
    const runner = {
      architecture,
      shape,
      threads,
      executionProviders: device.executionProviders,
      precision: input.precision,
      kernels: preferredKernels(),
    };
    const names = [...new Set([...stage.reads, ...stage.changes])];
    const columns = stage.captures[0]?.columns as number;
    const inputs = capturedInputs(stage).length;
    const open = () =>
      tensorThreads().openStage(
        {
          runner,
          stage,
          gram,
          magnitudes,
          sequenceLength,
          ...(mismatch && { mismatch: { linear: mismatch.linear, input: mismatch.input, gram: mismatch.gram } }),
          weightsKey: JSON.stringify(Object.entries(input.weights).map(([name, { sha256 }]) => [name, sha256])),
          weights: (use) => borrowMemory(async (take) => use(await readWeights(input.weights, bench, take))),
        },
        bench.attempt.signal,
      );
    const stream = async () => {
      const readers: Record<string, ArtifactReader> = {};
      const writers: Record<string, ArtifactWriting> = {};
      let original: { reader: ArtifactReader; sequences: number } | null = null;
      const perBatch = stageBatchSequences({ ...device, stage, shape, sequenceLength });
      try {
        if (mismatch) {
          const reader = await bench.runtime.store.open(mismatch.original.sha256);
          original = { reader, sequences: mismatch.original.shape?.[0] as number };
        }
        for (const name of stage.reads) {
          readers[name] = await bench.runtime.store.open((input.activations[name] as ArtifactRef).sha256);
        }
        for (const name of stage.changes) {
          const form = { dtype: activationDtype(name, input.precision), shape: dimensions(name) };
          writers[name] = await bench.create('activation', form);
        }
        const layouts = Object.fromEntries(
          names.map((name) => {
            const stride = elementCount(dimensions(name).slice(1));
            return [name, { dtype: activationDtype(name, input.precision), stride }];
          }),
        );
        return await streamSlice({ sequences, perBatch, layouts, readers, original, writers, open });
      } catch (error) {
        // Here in the activity's own memory, where batches are read to; in the stage's it has its name already.
        const much = { stage: stage.name, sequences: Math.min(perBatch, sequences), sequenceLength };
        const failure = isOutOfMemory(error) ? deviceOutOfMemory(much, error) : error;
        rememberBatch(work, failure);
        throw failure;
      } finally {
        await original?.reader.close();
        for (const end of [...Object.values(readers), ...Object.values(writers)]) await end.close();
      }
    };
    const read = [...Object.values(input.activations), ...(mismatch ? [mismatch.original] : [])];
    const result = await bench.withArtifacts(read, stream);
    bench.spend('forward', result.seconds.stage - result.gramSeconds);
    bench.spend('gram', result.gramSeconds);
    bench.spend('store', result.seconds.store);
    const perToken =
      forwardOperations(stage, stage, { shape, sequenceLength }) + (gram ? gramMultiplications(stage, shape) : 0);
    const tokens = sequences * sequenceLength;
    bench.runtime.log('stage-passed', { stage: stage.name, tokens, operations: tokens * perToken });
    const writeSum = async (sum: Float32Array, shape: readonly number[]) => {
      const writer = await bench.create('gram', { dtype: 'F32', shape });
      try {
        for (let first = 0; first < sum.length; first += FLOATS_AT_ONCE) {
          await writer.write(bytesOf(sum.subarray(first, first + FLOATS_AT_ONCE)));
        }
        return await writer.commit();
      } finally {
        await writer.close();
      }
    };
    return {
      activations: Object.fromEntries(
        stage.leaves.map((name) => [name, result.written[name] ?? (input.activations[name] as ArtifactRef)]),
      ),
      gram: result.gram && (await writeSum(result.gram, inputs === 1 ? [columns, columns] : [result.gram.length])),
      tokens: result.tokens,
      nonFiniteSequences: result.nonFiniteSequences,
      ...(result.magnitudes && { magnitudes: await bench.writeDocument(result.magnitudes) }),
      ...(result.mismatch &&
        mismatch && {
          mismatch: {
            sum: await writeSum(result.mismatch.sum, [2, mismatch.linear.rows, columns]),
            gram: result.mismatch.gram && (await writeSum(result.mismatch.gram, [columns, columns])),
            tokens: result.mismatch.tokens,
          },
        }),
    };
  },
});

async function readWeights(
  refs: Readonly<Record<string, ArtifactRef>>,
  bench: Bench,
  take: TakeMemory,
): Promise<Record<string, StoredWeight>> {
  const weights: Record<string, StoredWeight> = {};
  for (const [name, ref] of Object.entries(refs)) {
    const content = await bench.readInto(ref, take(ref.bytes));
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
    /** The linears that were quantized already; the others are applied with their original weights. */
    quantized: LinearRefs;
    gram: boolean;
    /** The largest magnitude of each captured input. */
    magnitudes?: boolean;
    /** The original model's hidden state behind the linear that the stage captures the input of: its mismatch is summed. */
    original?: ArtifactRef;
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<CalibratedSlice> {
  const { plan, architecture, shape, blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const own = stageOf(blocks, input);
  const { gram, magnitudes } = input;
  const stage = gram || magnitudes ? calibratingStage(own, plan.spec.calibration) : own;
  const quantized = await namedLinears(input.quantized, runtime, attempt);
  const weights: Record<string, ArtifactRef> = {};
  for (const tensor of Object.values(stage.parameters)) weights[tensor] = table[tensor] as ArtifactRef;
  const end = input.original ? residualEnd(blocks, input.block, input.stage) : null;
  for (const { name, bias } of end ? [...stage.applies, end.linear] : stage.applies) {
    weights[`${name}.weight`] = quantized[name] ?? (table[`${name}.weight`] as ArtifactRef);
    if (bias) weights[`${name}.bias`] = table[`${name}.bias`] as ArtifactRef;
  }
  const activations = Object.fromEntries(stage.reads.map((name) => [name, input.activations[name] as ArtifactRef]));
  const { precision, originalShare } = plan.spec.calibration;
  const mismatch = end && {
    linear: end.linear,
    input: end.input,
    gram: originalShare < 1,
    original: input.original as ArtifactRef,
  };
  const kind = deviceKind(runtime.device ?? CPU);
  attempt.progress({ block: input.block, stage: input.stage });
  const result = await perform(
    stageStep,
    {
      architecture: architecture.name,
      shape,
      stage,
      activations,
      weights,
      gram,
      ...(magnitudes && { magnitudes }),
      precision,
      ...(kind !== 'cpu' && { device: kind }),
      ...(mismatch && { mismatch }),
    },
    runtime,
    attempt,
  );
  const { ownQueue } = runtime;
  if (result.cached || !ownQueue) return result;
  const near = Object.entries(result.activations).map(([name, ref]) => [name, { ...ref, near: ownQueue }]);
  return { ...result, activations: Object.fromEntries(near) };
}
