import { openCheckpoint } from '../checkpoints';
import { type Perplexity, perplexity } from '../evaluation';
import {
  createMismatchStream,
  createStageRunner,
  createStageStream,
  type MismatchStreamOptions,
  ScratchFloats,
  type StageResult,
  type StageRun,
  type StageRunnerOptions,
  type StageStream,
  type StageSums,
} from '../graphs';
import { decodeBfloat16, decodeFloats, encodeBfloat16 } from '../numbers';
import { dequantize, parseQuantizedLinear } from '../quantizers';
import type { FloatTensor, Tensor } from '../spec';

/** A weight as it is stored: a tensor of the source, or the bytes of a quantized linear. */
export type StoredWeight = Tensor | { readonly quantized: Uint8Array };

/** By tensor name. */
export type StoredWeights = Readonly<Record<string, StoredWeight>>;

export interface StageTask extends Pick<StageRun, 'stage' | 'gram'> {
  readonly runner: StageRunnerOptions;
  readonly activations: Readonly<Record<string, FloatTensor>>;
  readonly weights: StoredWeights;
}

export interface StageOpening extends Pick<StageRun, 'stage' | 'gram'> {
  readonly runner: StageRunnerOptions;
  readonly sequenceLength: number;
  /** null: those of the stage that was opened before. */
  readonly weights: StoredWeights | null;
}

/** As StageBatch, but activations as they are stored: float32, or the patterns of bfloat16; in memory that threads share. */
export interface StoredBatch {
  readonly sequences: number;
  /** Default: as many as the stage was opened with. */
  readonly threads?: number;
  readonly inputs: Readonly<Record<string, StoredActivation>>;
  /** Written. */
  readonly outputs: Readonly<Record<string, StoredActivation>>;
}
export type StoredActivation = Float32Array<SharedArrayBuffer> | Uint16Array<SharedArrayBuffer>;

export interface PerplexityTask {
  readonly directory: string;
  readonly tokens: Int32Array;
  readonly context: number;
  readonly threads: number;
}

let decoded: ReadonlyMap<string, FloatTensor> = new Map();
let open: StageStream | null = null;

/** Decodes the weights, unless they are the last ones again, and gets a stage ready for its batches. */
export async function openStage({ runner, stage, gram, sequenceLength, weights }: StageOpening): Promise<void> {
  if (weights) {
    decoded = new Map(); // before the new ones take memory
    decoded = decodeWeights(weights);
  }
  open = createStageStream({ ...runner, stage, weights: decoded, gram, sequenceLength });
}

/** Gets ready for the batches of a mismatch: they are run, and it is closed, like a stage. */
export async function openMismatch(options: MismatchStreamOptions): Promise<void> {
  open = createMismatchStream(options);
}

const scratch = new ScratchFloats();
let lastBatch: Promise<unknown> = Promise.resolve();

/** Runs the open stage on one batch, after those that came before, and writes its outputs. */
export function runBatch(batch: StoredBatch): Promise<void> {
  const run = lastBatch.then(() => runNow(batch));
  lastBatch = run.catch(() => undefined);
  return run;
}

async function runNow(batch: StoredBatch): Promise<void> {
  // onnxruntime-node takes no shared memory.
  const inputs = mapRecord(batch.inputs, (name, stored) => {
    const values = scratch.of(`${name} in`, stored.length);
    if (stored instanceof Uint16Array) decodeBfloat16(stored, values);
    else values.set(stored);
    return values;
  });
  const outputs = mapRecord(batch.outputs, (name, stored) => scratch.of(`${name} out`, stored.length));
  const { sequences, threads } = batch;
  await (open as StageStream).run({ sequences, inputs, outputs, ...(threads ? { threads } : {}) });
  for (const [name, stored] of Object.entries(batch.outputs)) {
    const values = outputs[name] as Float32Array;
    if (stored instanceof Uint16Array) encodeBfloat16(values, stored);
    else stored.set(values);
  }
}

function mapRecord<In, Out>(record: Readonly<Record<string, In>>, map: (name: string, value: In) => Out) {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(name, value)]));
}

export async function closeStage(): Promise<StageSums> {
  const sums = (open as StageStream).finish();
  open = null;
  return sums;
}

/** Decodes the weights and runs one stage on everything at once. */
export function runStage({ runner, stage, gram, activations, weights }: StageTask): Promise<StageResult> {
  return createStageRunner(runner).run({
    stage,
    gram,
    activations: new Map(Object.entries(activations)),
    weights: decodeWeights(weights),
  });
}

/** Perplexity of the checkpoint in a directory. */
export async function measurePerplexity({ directory, ...options }: PerplexityTask): Promise<Perplexity> {
  return perplexity({ checkpoint: await openCheckpoint(directory), ...options });
}

function decodeWeights(weights: StoredWeights): Map<string, FloatTensor> {
  return new Map(Object.entries(weights).map(([name, weight]) => [name, decodeWeight(weight)]));
}

function decodeWeight(weight: StoredWeight): FloatTensor {
  if ('quantized' in weight) {
    const linear = parseQuantizedLinear(weight.quantized);
    return { shape: [linear.rows, linear.columns], data: dequantize(linear) };
  }
  return { shape: weight.shape, data: decodeFloats(weight) };
}
