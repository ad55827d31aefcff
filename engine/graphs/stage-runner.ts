import { type InferenceSession, Tensor } from 'onnxruntime-node';
import type { ModelShape, Stage } from '../models/architecture';
import { type FloatTensor, QuantloomError } from '../spec';
import { activationFeatures, linearRole } from './decoder-graph';
import { GramSum } from './gram';
import { rotaryTable } from './rotary-table';
import { type SessionOptions, sessionFor } from './session-pool';
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
  readonly activations: ReadonlyMap<string, FloatTensor>;
  /** By tensor name: weights `[rows, columns]` and biases of `stage.applies`, and `stage.parameters`. Others are ignored. */
  readonly weights: ReadonlyMap<string, FloatTensor>;
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
   * set, not on the number of threads: MLAS divides rows and columns of a product among threads, never the sum of one element.
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

interface Layout {
  readonly sequences: number;
  readonly sequenceLength: number;
}

/** Runs the stages of a model of one shape. Sessions are shared by all runners of the process, so runners are cheap. */
export function createStageRunner(options: StageRunnerOptions): StageRunner {
  return { run: (input) => runStage(input, options) };
}

async function runStage(input: StageRun, options: StageRunnerOptions): Promise<StageResult> {
  const { stage, gram } = input;
  const layout = layoutOf(input, options.shape);
  const { sequences, sequenceLength } = layout;
  const graph = { architecture: options.architecture, stage, shape: options.shape, gram, sequenceLength };
  const session = await sessionFor(stageGraphKey(graph), options, () => stageGraph(graph));
  const constants = { ...weightFeeds(input), ...rotaryFeeds(stage, options.shape, sequenceLength) };
  const outputs = stage.changes.map((name) => {
    const features = activationFeatures(name, options.shape);
    return { name, features, data: new Float32Array(sequences * sequenceLength * features) };
  });
  const sum = gram ? new GramSum(stage.captures[0]?.columns as number) : null;
  const perBatch = sequencesPerBatch(input, options, layout);

  let finiteSequences = 0;
  for (let first = 0; first < sequences; first += perBatch) {
    input.signal?.throwIfAborted();
    const count = Math.min(perBatch, sequences - first);
    const feeds = { ...constants, ...activationFeeds(input, { first, count, sequenceLength }) };
    const fetches: Record<string, Tensor> = gramFetches(sum);
    for (const { name, features, data } of outputs) {
      const [start, length] = [first * sequenceLength * features, count * sequenceLength * features];
      fetches[newName(name)] = floats(data.subarray(start, start + length), [count * sequenceLength, features]);
    }
    const finite = await energiesAreFinite(session, feeds, fetches, count);
    const kept = finite.flatMap((keep, i) => (keep ? [first + i] : []));
    finiteSequences += kept.length;
    if (sum === null || kept.length === 0) continue;
    if (kept.length < count) await rerunFinite(session, input, { ...constants }, kept, sequenceLength, sum);
    sum.add();
  }

  const activations = new Map<string, FloatTensor>();
  for (const name of stage.leaves) {
    const output = outputs.find((candidate) => candidate.name === name);
    activations.set(
      name,
      output === undefined
        ? (input.activations.get(name) as FloatTensor)
        : { shape: [sequences, sequenceLength, output.features], data: output.data },
    );
  }
  return {
    activations,
    gram: sum?.matrix() ?? null,
    tokens: finiteSequences * sequenceLength,
    nonFiniteSequences: sequences - finiteSequences,
  };
}

/** Computes XᵀX of a sub-batch again without the sequences that spoil it. Rare, so the other outputs are computed for nothing. */
async function rerunFinite(
  session: InferenceSession,
  input: StageRun,
  constants: Record<string, Tensor>,
  kept: readonly number[],
  sequenceLength: number,
  sum: GramSum,
): Promise<void> {
  const feeds: Record<string, Tensor> = { ...constants };
  for (const name of input.stage.reads) {
    const { data, shape } = input.activations.get(name) as FloatTensor;
    const features = shape[2] as number;
    const stride = sequenceLength * features;
    const chosen = new Float32Array(kept.length * stride);
    kept.forEach((sequence, i) => {
      chosen.set(data.subarray(sequence * stride, (sequence + 1) * stride), i * stride);
    });
    feeds[name] = floats(chosen, [kept.length * sequenceLength, features]);
  }
  if ('cos' in feeds) feeds.positionIds = positionIds(kept.length, sequenceLength);
  await session.run(feeds, gramFetches(sum));
}

async function energiesAreFinite(
  session: InferenceSession,
  feeds: Record<string, Tensor>,
  fetches: Record<string, Tensor>,
  sequences: number,
): Promise<readonly boolean[]> {
  const tokens = (Object.values(feeds).length > 0 ? feeds.hidden?.dims[0] : 0) as number;
  const energy = new Float32Array(tokens);
  await session.run(feeds, { ...fetches, energy: floats(energy, [tokens]) });
  const sequenceLength = tokens / sequences;
  return Array.from({ length: sequences }, (_, i) =>
    energy.subarray(i * sequenceLength, (i + 1) * sequenceLength).every(Number.isFinite),
  );
}

function sequencesPerBatch(input: StageRun, options: StageRunnerOptions, { sequenceLength }: Layout): number {
  const bytes = stageTemporaryBytesPerSequence(input.stage.name, options.shape, sequenceLength);
  const byMemory = (options.temporaryBytes ?? DEFAULT_TEMPORARY_BYTES) / bytes;
  const byTokens = (input.batchTokens ?? DEFAULT_BATCH_TOKENS) / sequenceLength;
  return Math.max(1, Math.floor(Math.min(byMemory, byTokens)));
}

function layoutOf({ stage, activations }: StageRun, shape: ModelShape): Layout {
  const [sequences, sequenceLength] = activations.get(stage.reads[0] as string)?.shape ?? [];
  for (const name of stage.reads) {
    const found = activations.get(name);
    const expected = [sequences, sequenceLength, activationFeatures(name, shape)];
    if (found !== undefined && found.shape.length === 3 && found.shape.every((size, i) => size === expected[i]))
      continue;
    throw new QuantloomError(
      'UnsupportedInput',
      `Stage "${stage.name}" needs the activation "${name}" of shape [${expected.map((size) => size ?? '?').join(', ')}], ${
        found === undefined ? 'which was not given' : `but it is [${found.shape.join(', ')}]`
      }.`,
      { details: { stage: stage.name, activation: name } },
    );
  }
  return { sequences: sequences as number, sequenceLength: sequenceLength as number };
}

function weightFeeds({ stage, weights }: StageRun): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { name, rows, columns, bias } of stage.applies) {
    const role = linearRole(name);
    feeds[`${role}.weight`] = weightTensor(weights, `${name}.weight`, [rows, columns]);
    if (bias) feeds[`${role}.bias`] = weightTensor(weights, `${name}.bias`, [rows]);
  }
  for (const [role, name] of Object.entries(stage.parameters)) feeds[role] = weightTensor(weights, name);
  return feeds;
}

function weightTensor(
  weights: ReadonlyMap<string, FloatTensor>,
  name: string,
  expected: readonly number[] | undefined = weights.get(name)?.shape,
): Tensor {
  const found = weights.get(name);
  if (found !== undefined && String(found.shape) === String(expected)) return floats(found.data, found.shape);
  throw new QuantloomError(
    'InvalidModel',
    `The tensor ${name} ${found === undefined ? 'is missing' : `has shape [${found.shape.join(', ')}]; expected [${expected?.join(', ')}]`}.`,
    { details: { tensor: name } },
  );
}

function rotaryFeeds(stage: Stage, shape: ModelShape, sequenceLength: number): Record<string, Tensor> {
  if (stage.name !== 'attention') return {};
  const { cos, sin } = rotaryTable(shape.rotary, shape.headSize, { first: 0, count: sequenceLength });
  const dims = [sequenceLength, shape.headSize / 2];
  return { cos: floats(cos, dims), sin: floats(sin, dims) };
}

function activationFeeds(
  { stage, activations }: StageRun,
  batch: { first: number; count: number; sequenceLength: number },
): Record<string, Tensor> {
  const { first, count, sequenceLength } = batch;
  const feeds: Record<string, Tensor> = {};
  for (const name of stage.reads) {
    const { data, shape } = activations.get(name) as FloatTensor;
    const stride = sequenceLength * (shape[2] as number);
    const rows = data.subarray(first * stride, (first + count) * stride);
    feeds[name] = floats(rows, [count * sequenceLength, shape[2] as number]);
  }
  if (stage.name === 'attention') feeds.positionIds = positionIds(count, sequenceLength);
  return feeds;
}

function gramFetches(sum: GramSum | null): Record<string, Tensor> {
  const targets = sum?.targets() ?? [];
  return Object.fromEntries(targets.map(({ name, data, shape }) => [name, floats(data, shape)]));
}

function positionIds(sequences: number, sequenceLength: number): Tensor {
  const ids = BigInt64Array.from({ length: sequences * sequenceLength }, (_, i) => BigInt(i % sequenceLength));
  return new Tensor('int64', ids, [sequences, sequenceLength]);
}

function floats(data: Float32Array, shape: readonly number[]): Tensor {
  return new Tensor('float32', data, shape);
}
