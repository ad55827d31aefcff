import { MISMATCH_INPUTS, mismatchBatchSequences } from '../engine/graphs';
import { preferredKernels } from '../engine/kernels';
import { type ResidualEnd, residualEnd } from '../engine/models';
import { bytesOf } from '../engine/numbers';
import { type ArtifactRef, elementCount, type TensorTable } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import { tensorThreads } from '../engine/tensor-thread';
import type { ActivationRefs } from './calibrate-slice';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';
import { streamSlice } from './stream-slice';

export interface MismatchOfSlice extends Effort {
  /** F32 `[rows, columns]`: Σ (h₀ + W x₀ - h) xᵀ over the slice. */
  readonly sum: ArtifactRef;
  readonly tokens: number;
}

interface MismatchSliceInput {
  readonly rows: number;
  readonly columns: number;
  /** `[sequences, sequenceLength, features]`. */
  readonly activations: Readonly<Record<keyof typeof MISMATCH_INPUTS, ArtifactRef>>;
  readonly bias: ArtifactRef | null;
}

const mismatchStep = defineStep({
  name: 'mismatch-slice',
  version: 1,
  run: async ({ rows, columns, activations, bias }: MismatchSliceInput, bench) => {
    const { threads } = bench.runtime;
    const [sequences, sequenceLength] = activations.hidden.shape as [number, number];
    const names = Object.values(MISMATCH_INPUTS);
    const open = async () => {
      const added = bias ? (await readFloats(bias, bench)).data : null;
      const options = { rows, columns, sequenceLength, bias: added, threads, kernels: preferredKernels() };
      return tensorThreads().openMismatch(options, bench.attempt.signal);
    };
    const stream = async () => {
      const readers: Record<string, ArtifactReader> = {};
      try {
        for (const name of names) readers[name] = await bench.runtime.store.open(activations[name].sha256);
        const layouts = Object.fromEntries(
          names.map((name) => {
            const { dtype, shape } = activations[name];
            const stride = elementCount((shape as readonly number[]).slice(1));
            return [name, { dtype: dtype as 'F32' | 'BF16', stride }];
          }),
        );
        const perBatch = mismatchBatchSequences(sequenceLength);
        return await streamSlice({ sequences, perBatch, layouts, readers, writers: {}, open });
      } finally {
        for (const reader of Object.values(readers)) await reader.close();
      }
    };
    const { gram, tokens, seconds } = await bench.withArtifacts(Object.values(activations), stream);
    bench.spend('product', seconds.stage);
    bench.spend('store', seconds.store);
    const content = bytesOf(gram as Float32Array);
    return { sum: await bench.write('gram', content, { dtype: 'F32', shape: [rows, columns] }), tokens };
  },
});

/** Sums up what the input of a linear that ends a residual branch knows of what has gone wrong so far, over one slice. */
export async function mismatchSlice(
  input: {
    plan: ArtifactRef;
    table: ArtifactRef;
    block: number;
    /** The stage that captures the linear's input. */
    stage: string;
    /** What that stage left behind, behind quantized layers. */
    activations: ActivationRefs;
    /** The original model's hidden state behind the linear. */
    original: ArtifactRef;
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<MismatchOfSlice> {
  const { blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const { linear, input: captured } = residualEnd(blocks, input.block, input.stage) as ResidualEnd;
  const { rows, columns, name } = linear;
  const activations = {
    hidden: input.activations.hidden as ArtifactRef,
    original: input.original,
    captured: input.activations[captured] as ArtifactRef,
  };
  const bias = linear.bias ? (table[`${name}.bias`] as ArtifactRef) : null;
  attempt.progress({ linear: name });
  return perform(mismatchStep, { rows, columns, activations, bias }, runtime, attempt);
}
