import type { ModelShape, Stage } from '../models/architecture';
import type { FloatTensor } from '../spec';
import { activationFeatures } from './decoder-graph';
import { GramSum } from './gram';
import { invariantThreads } from './invariant-threads';
import { type SessionOptions, sessionFor } from './session-pool';
import {
  activationFeeds,
  type Feeds,
  type FloatTensors,
  floatFeed,
  type Layout,
  layoutOf,
  linearFeeds,
  positionIds,
  rotaryFeeds,
  weightFeed,
} from './stage-feeds';
import { newName, stageGraph, stageGraphKey } from './stage-graph';
import { stageTemporaryBytesPerSequence } from './stage-memory';

export interface StageRunnerOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  /** Bound on the temporaries of a sub-batch; one sequence is always run whole. Default 256 MiB. */
  readonly temporaryBytes?: number;
}

export interface StageRun {
  readonly stage: Stage;
  /** Those of `stage.reads`, `[batch, sequence, features]`. Others are ignored. */
  readonly activations: FloatTensors;
  /** By tensor name: weights `[rows, columns]` and biases of `stage.applies`, and `stage.parameters`. Others are ignored. */
  readonly weights: FloatTensors;
  /** Compute XᵀX of the captured input. */
  readonly gram: boolean;
  /** Tokens that are run at once, rounded down to whole sequences, at least one. Default 4096, less if memory says so. */
  readonly batchTokens?: number;
  /** Looked at between sub-batches; its reason is thrown. */
  readonly signal?: AbortSignal;
}

export interface StageResult {
  /** Exactly `stage.leaves`; what the stage does not change is the very tensor that came in. */
  readonly activations: Map<string, FloatTensor>;
  /** XᵀX `[columns, columns]` over the finite sequences; null when not asked for. */
  readonly gram: Float32Array | null;
  /** Tokens that XᵀX sums over (that it would, when not asked for). */
  readonly tokens: number;
  /** Sequences whose captured input held NaN, infinity, or values whose squares overflow float32; they are left out of XᵀX. */
  readonly nonFiniteSequences: number;
}

export interface StageRunner {
  /**
   * The result depends on the arguments (and `temporaryBytes`, which decides the sub-batches) and on the processor's instruction
   * set, not on the number of threads (see `invariantThreads`).
   *
   * onnxruntime-node computes on the calling thread and blocks its event loop: call this in a worker thread where heartbeats
   * matter.
   *
   * @throws QuantloomError InvalidModel when a weight is missing or has another shape; UnsupportedInput for activations.
   */
  run(input: StageRun): Promise<StageResult>;
}

const DEFAULT_TEMPORARY_BYTES = 256 * 2 ** 20;
/** Enough rows for MLAS's full speed; more would only cost memory. */
const DEFAULT_BATCH_TOKENS = 4096;

/** Runs the stages of a model of one shape. Sessions are shared by all runners of the process, so runners are cheap. */
export function createStageRunner(options: StageRunnerOptions): StageRunner {
  return { run: (input) => runStage(input, options) };
}

async function runStage(input: StageRun, options: StageRunnerOptions): Promise<StageResult> {
  const { stage, activations, gram } = input;
  const { architecture, shape } = options;
  const layout = layoutOf(stage, activations, shape);
  const { sequences, sequenceLength } = layout;
  const graph = { architecture, stage, shape, gram, sequenceLength };
  const key = stageGraphKey(graph);
  const constants = constantFeeds(input, shape, sequenceLength);
  const compute = async (chosen: readonly number[], fetches: Feeds): Promise<void> => {
    const threads = invariantThreads(options.threads, chosen.length * sequenceLength, stage.applies);
    const session = await sessionFor(key, { ...options, threads }, () => stageGraph(graph));
    const positions: Feeds =
      stage.name === 'attention' ? { positionIds: positionIds(chosen.length, 0, sequenceLength) } : {};
    const feeds = activationFeeds(stage, activations, chosen, sequenceLength);
    await session.run({ ...constants, ...feeds, ...positions }, fetches);
  };
  const changed = stage.changes.map((name) => {
    const stride = sequenceLength * activationFeatures(name, shape);
    return { name, stride, data: new Float32Array(sequences * stride) };
  });
  const sum = gram ? new GramSum(stage.captures[0]?.columns as number) : null;
  const perBatch = sequencesPerBatch(input, options, layout);

  let finiteSequences = 0;
  for (let first = 0; first < sequences; first += perBatch) {
    input.signal?.throwIfAborted();
    const batch = Array.from({ length: Math.min(perBatch, sequences - first) }, (_, i) => first + i);
    const tokens = batch.length * sequenceLength;
    const energy = new Float32Array(tokens);
    const fetches: Feeds = { energy: floatFeed(energy, [tokens]), ...gramFetches(sum) };
    for (const { name, stride, data } of changed) {
      const rows = data.subarray(first * stride, (first + batch.length) * stride);
      fetches[newName(name)] = floatFeed(rows, [tokens, stride / sequenceLength]);
    }
    await compute(batch, fetches);

    const finite = batch.filter((_, i) =>
      energy.subarray(i * sequenceLength, (i + 1) * sequenceLength).every(Number.isFinite),
    );
    finiteSequences += finite.length;
    if (sum === null || finite.length === 0) continue;
    // Rare enough that XᵀX without the spoilt sequences may cost a second run.
    if (finite.length < batch.length) await compute(finite, gramFetches(sum));
    sum.add();
  }

  const left = new Map(stage.leaves.map((name) => [name, activations.get(name) as FloatTensor]));
  for (const { name, stride, data } of changed) {
    left.set(name, { shape: [sequences, sequenceLength, stride / sequenceLength], data });
  }
  return {
    activations: left,
    gram: sum?.matrix() ?? null,
    tokens: finiteSequences * sequenceLength,
    nonFiniteSequences: sequences - finiteSequences,
  };
}

function constantFeeds({ stage, weights }: StageRun, shape: ModelShape, sequenceLength: number): Feeds {
  const feeds = linearFeeds(stage.applies, weights);
  for (const [role, name] of Object.entries(stage.parameters)) {
    feeds[role] = weightFeed(weights, name, [shape.hiddenSize]);
  }
  return stage.name === 'attention' ? { ...feeds, ...rotaryFeeds(shape, sequenceLength) } : feeds;
}

function sequencesPerBatch(input: StageRun, options: StageRunnerOptions, { sequenceLength }: Layout): number {
  const bytes = stageTemporaryBytesPerSequence(input.stage.name, options.shape, sequenceLength);
  const byMemory = (options.temporaryBytes ?? DEFAULT_TEMPORARY_BYTES) / bytes;
  const byTokens = (input.batchTokens ?? DEFAULT_BATCH_TOKENS) / sequenceLength;
  return Math.max(1, Math.floor(Math.min(byMemory, byTokens)));
}

function gramFetches(sum: GramSum | null): Feeds {
  const targets = sum?.targets() ?? [];
  return Object.fromEntries(targets.map(({ name, data, shape }) => [name, floatFeed(data, shape)]));
}
