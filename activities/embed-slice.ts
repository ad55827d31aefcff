import { originalSequences } from '../engine/calibration';
import { addPositions, embedStored } from '../engine/graphs';
import { bytesOf, int32View } from '../engine/numbers';
import type { ArtifactRef, DType, TensorTable } from '../engine/spec';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform, together } from './step';

interface EmbedInput {
  /** I32 `[samples, sequenceLength]`. */
  readonly tokens: ArtifactRef;
  readonly embedding: ArtifactRef;
  /** Learned positions; absent where there are none. */
  readonly positions?: ArtifactRef;
  readonly firstSequence: number;
  readonly sequences: number;
}

const embedStep = defineStep({
  name: 'embed-slice',
  version: 1,
  run: async ({ tokens, embedding, positions, firstSequence, sequences }: EmbedInput, bench) => {
    const sequenceLength = tokens.shape?.[1] as number;
    const all = int32View(await bench.read(tokens));
    const slice = all.subarray(firstSequence * sequenceLength, (firstSequence + sequences) * sequenceLength);
    const table = {
      dtype: embedding.dtype as DType,
      shape: embedding.shape as number[],
      data: await bench.read(embedding),
    };
    const shape = [sequences, sequenceLength, table.shape[1] as number];
    const hidden = embedStored(slice, table);
    if (positions) addPositions(hidden, await readFloats(positions, bench), { sequenceLength });
    return { hidden: await bench.write('activation', bytesOf(hidden), { dtype: 'F32', shape }) };
  },
});

/** The hidden states of a slice before the first layer: `[sequences, sequenceLength, hiddenSize]`. */
export interface EmbeddedSlice extends Effort {
  readonly hidden: ArtifactRef;
  /** Of its first sequences, which the original model is run on; absent when not asked for. */
  readonly original?: ArtifactRef;
}

/** Embeds the tokens of one slice; `original` asks for that of its first sequences too. */
export async function embedSlice(
  input: { plan: ArtifactRef; table: ArtifactRef; tokens: ArtifactRef; slice: number; original: boolean },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<EmbeddedSlice> {
  const { plan, architecture } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const slice = plan.slices[input.slice] as ModelSlice;
  const embedding = table[architecture.embedding] as ArtifactRef;
  const positions = architecture.positions === null ? undefined : table[architecture.positions];
  const whole = { tokens: input.tokens, embedding, ...(positions && { positions }), ...slice };
  const embedded = await perform(embedStep, whole, runtime, attempt);
  if (!input.original) return embedded;
  const sequences = originalSequences(slice.sequences, plan.spec.calibration.originalShare);
  const first = await perform(embedStep, { ...whole, sequences }, runtime, attempt);
  return { ...embedded, ...together([embedded, first]), original: first.hidden };
}

type ModelSlice = { readonly firstSequence: number; readonly sequences: number };
