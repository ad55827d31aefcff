import type { ModelShape, Stage } from '../models/architecture';
import { activationFeatures } from './decoder-graph';
import { GramSum } from './gram';
import { invariantThreads } from './invariant-threads';
import { type SessionOptions, sessionFor } from './session-pool';
import {
  activationFeeds,
  type Feeds,
  type FloatTensors,
  floatFeed,
  linearFeeds,
  positionIds,
  rotaryFeeds,
  weightFeed,
} from './stage-feeds';
import { newName, stageGraph, stageGraphKey } from './stage-graph';
import { stageTemporaryBytesPerSequence } from './stage-memory';

export interface StageStreamOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  readonly stage: Stage;
  /** By tensor name: weights `[rows, columns]` and biases of `stage.applies`, and `stage.parameters`. Others are ignored. */
  readonly weights: FloatTensors;
  /** Compute XᵀX of the captured input. */
  readonly gram: boolean;
  /** Tokens per sequence. */
  readonly sequenceLength: number;
}

/** Some whole sequences. Arrays are `[sequences · sequenceLength, features]`, by the activation's name. */
export interface StageBatch {
  readonly sequences: number;
  /** Those of `stage.reads`. */
  readonly inputs: Readonly<Record<string, Float32Array>>;
  /** Those of `stage.changes`; written. */
  readonly outputs: Readonly<Record<string, Float32Array>>;
}

/** What a stage sums up over all that it was run on. */
export interface StageSums {
  /** XᵀX `[columns, columns]` over the finite sequences; null when not asked for. */
  readonly gram: Float32Array | null;
  /** Tokens that XᵀX sums over (that it would, when not asked for). */
  readonly tokens: number;
  /** Sequences whose captured input held NaN, infinity, or values whose squares overflow float32; they are left out of XᵀX. */
  readonly nonFiniteSequences: number;
}

/** One stage with its weights, to which a slice is shown batch after batch. */
export interface StageStream {
  /** One call at a time; the order of batches, and their sizes, decide the last bits of XᵀX. */
  run(batch: StageBatch): Promise<void>;
  finish(): StageSums;
}

const DEFAULT_TEMPORARY_BYTES = 256 * 2 ** 20;
/** Enough rows for MLAS's full speed; more would only cost memory. */
const DEFAULT_BATCH_TOKENS = 4096;

/** Sequences that a stage is run on at once: `batchTokens` (default 4096), less if the temporaries need it, at least one. */
export function stageBatchSequences(options: {
  readonly stage: Stage;
  readonly shape: ModelShape;
  readonly sequenceLength: number;
  readonly temporaryBytes?: number;
  readonly batchTokens?: number;
}): number {
  const { stage, shape, sequenceLength } = options;
  const bytes = stageTemporaryBytesPerSequence(stage.name, shape, sequenceLength);
  const byMemory = (options.temporaryBytes ?? DEFAULT_TEMPORARY_BYTES) / bytes;
  const byTokens = (options.batchTokens ?? DEFAULT_BATCH_TOKENS) / sequenceLength;
  return Math.max(1, Math.floor(Math.min(byMemory, byTokens)));
}

/** @throws QuantloomError InvalidModel when a weight is missing or has another shape. */
export function createStageStream(options: StageStreamOptions): StageStream {
  const { stage, sequenceLength } = options;
  const key = stageGraphKey(options);
  const constants = constantFeeds(options);
  const sum = options.gram ? new GramSum(stage.captures[0]?.columns as number) : null;
  let finiteSequences = 0;
  let sequences = 0;

  const compute = async (batch: StageBatch, chosen: readonly number[], fetches: Feeds): Promise<void> => {
    const threads = invariantThreads(options.threads, chosen.length * sequenceLength, stage.applies);
    const session = await sessionFor(key, { ...options, threads }, () => stageGraph(options));
    const positions: Feeds =
      stage.name === 'attention' ? { positionIds: positionIds(chosen.length, 0, sequenceLength) } : {};
    const feeds = activationFeeds(batch.inputs, chosen, batch.sequences, sequenceLength);
    await session.run({ ...constants, ...feeds, ...positions }, fetches);
  };

  return {
    async run(batch) {
      const all = Array.from({ length: batch.sequences }, (_, i) => i);
      const tokens = batch.sequences * sequenceLength;
      const energy = new Float32Array(tokens);
      const fetches: Feeds = { energy: floatFeed(energy, [tokens]), ...gramFetches(sum) };
      for (const name of stage.changes) {
        const features = activationFeatures(name, options.shape);
        fetches[newName(name)] = floatFeed(batch.outputs[name] as Float32Array, [tokens, features]);
      }
      await compute(batch, all, fetches);

      const finite = all.filter((i) =>
        energy.subarray(i * sequenceLength, (i + 1) * sequenceLength).every(Number.isFinite),
      );
      sequences += batch.sequences;
      finiteSequences += finite.length;
      if (sum === null || finite.length === 0) return;
      // Rare enough that XᵀX without the spoilt sequences may cost a second run.
      if (finite.length < batch.sequences) await compute(batch, finite, gramFetches(sum));
      sum.add();
    },
    finish: () => ({
      gram: sum?.matrix() ?? null,
      tokens: finiteSequences * sequenceLength,
      nonFiniteSequences: sequences - finiteSequences,
    }),
  };
}

function constantFeeds({ stage, weights, shape, sequenceLength }: StageStreamOptions): Feeds {
  const feeds = linearFeeds(stage.applies, weights);
  for (const [role, name] of Object.entries(stage.parameters)) {
    feeds[role] = weightFeed(weights, name, [shape.hiddenSize]);
  }
  return stage.name === 'attention' ? { ...feeds, ...rotaryFeeds(shape, sequenceLength) } : feeds;
}

function gramFetches(sum: GramSum | null): Feeds {
  const targets = sum?.targets() ?? [];
  return Object.fromEntries(targets.map(({ name, data, shape }) => [name, floatFeed(data, shape)]));
}
