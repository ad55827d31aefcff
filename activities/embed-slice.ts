import { originalSequences } from '../engine/calibration';
import { addPositions, embedStored, scaleEmbedding } from '../engine/graphs';
import { bytesOf, int32View } from '../engine/numbers';
import { type ArtifactRef, type DType, elementCount, type TensorTable } from '../engine/spec';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

interface EmbedInput {
  /** I32 `[samples, sequenceLength]`. */
  readonly tokens: ArtifactRef;
  readonly embedding: ArtifactRef;
  /** Learned positions; absent where there are none. */
  readonly positions?: ArtifactRef;
  /** Their rows in front of that of a sequence's first token; absent where there are none. */
  readonly positionOffset?: number;
  /** What rows of the embedding are multiplied by; absent where they are not. */
  readonly embeddingScale?: number;
  readonly firstSequence: number;
  readonly sequences: number;
  /** Sequences that are wanted a second time, of the first ones. */
  readonly original?: number;
}

const embedStep = defineStep({
  name: 'embed-slice',
  version: 1,
  run: async (input: EmbedInput, bench) => {
    const { tokens, embedding, positions, firstSequence, sequences, original = 0 } = input;
    const sequenceLength = tokens.shape?.[1] as number;
    const all = int32View(await bench.read(tokens));
    const slice = all.subarray(firstSequence * sequenceLength, (firstSequence + sequences) * sequenceLength);
    const table = {
      dtype: embedding.dtype as DType,
      shape: embedding.shape as number[],
      data: await bench.read(embedding),
    };
    const stride = [sequenceLength, table.shape[1] as number];
    const data = scaleEmbedding(embedStored(slice, table), input);
    if (positions) addPositions(data, await readFloats(positions, bench), { shape: input, sequenceLength });
    const first = (count: number) => {
      const bytes = bytesOf(data.subarray(0, count * elementCount(stride)));
      return bench.write('activation', bytes, { dtype: 'F32', shape: [count, ...stride] });
    };
    const hidden = await first(sequences);
    if (original === 0) return { hidden };
    return { hidden, original: original < sequences ? await first(original) : hidden };
  },
});

/** The hidden states of a slice before the first layer: `[sequences, sequenceLength, hiddenSize]`. */
export interface EmbeddedSlice extends Effort {
  readonly hidden: ArtifactRef;
  /** Of its first sequences, where the original model is run on them; absent when not asked for. */
  readonly original?: ArtifactRef;
}

/** Embeds the tokens of one slice; `original` asks for that of the sequences too which the original model is run on. */
export async function embedSlice(
  input: { plan: ArtifactRef; table: ArtifactRef; tokens: ArtifactRef; slice: number; original: boolean },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<EmbeddedSlice> {
  const { plan, architecture, shape } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const slice = plan.slices[input.slice] as ModelSlice;
  const embedding = table[architecture.embedding] as ArtifactRef;
  const positions = architecture.positions === null ? undefined : table[architecture.positions];
  const shares = input.original ? originalSequences(plan.slices, plan.spec.calibration.originalShare) : [];
  const original = shares[input.slice] ?? 0;
  const { embeddingScale, positionOffset } = shape;
  return perform(
    embedStep,
    {
      tokens: input.tokens,
      embedding,
      ...(positions && { positions }),
      ...(positionOffset !== undefined && { positionOffset }),
      ...(embeddingScale !== undefined && { embeddingScale }),
      ...slice,
      ...(original > 0 && { original }),
    },
    runtime,
    attempt,
  );
}

type ModelSlice = { readonly firstSequence: number; readonly sequences: number };
