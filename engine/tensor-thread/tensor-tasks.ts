import { openCheckpoint } from '../checkpoints';
import type { Device } from '../devices';
import { type Perplexity, perplexity } from '../evaluation';
import {
  createStageRunner,
  createStageStream,
  type StageBatch,
  type StageResult,
  type StageRun,
  type StageRunnerOptions,
  type StageStream,
  type StageSums,
} from '../graphs';
import { Loan, ownMemory, ReusedBuffers, type TakeMemory } from '../memory';
import { decodeFloats } from '../numbers';
import { dequantize, viewQuantizedLinear } from '../quantizers';
import { elementCount, type FloatTensor, type Tensor } from '../spec';

/** A weight as it is stored: a tensor of the source, or the bytes of a quantized linear. */
export type StoredWeight = Tensor | { readonly quantized: Uint8Array };

/** By tensor name. */
export type StoredWeights = Readonly<Record<string, StoredWeight>>;

export interface StageTask extends Pick<StageRun, 'stage' | 'gram' | 'magnitudes' | 'mismatch' | 'original'> {
  readonly runner: StageRunnerOptions;
  readonly activations: Readonly<Record<string, FloatTensor>>;
  readonly weights: StoredWeights;
}

export interface StageOpening extends Pick<StageRun, 'stage' | 'gram' | 'magnitudes' | 'mismatch'> {
  readonly runner: StageRunnerOptions;
  readonly sequenceLength: number;
  /** null: those of the stage that was opened before. */
  readonly weights: StoredWeights | null;
}

/** A batch in memory that threads share. */
export interface SharedBatch extends StageBatch {
  readonly inputs: Readonly<Record<string, SharedActivation>>;
  readonly outputs: Readonly<Record<string, SharedActivation>>;
  readonly original?: SharedActivation;
}
export type SharedActivation = Float32Array<SharedArrayBuffer> | Uint16Array<SharedArrayBuffer>;

export interface PerplexityTask {
  readonly directory: string;
  readonly tokens: Int32Array;
  readonly context: number;
  readonly threads: number;
  readonly device: Device;
}

/** Bytes of buffers that wait for the next stage: the weights and sums of the stages of a small model. */
const KEPT_BYTES = 96 << 20;

const buffers = new ReusedBuffers((bytes) => new ArrayBuffer(bytes), KEPT_BYTES);
const ofWeights = new Loan(buffers);
const ofStage = new Loan(buffers);
let decoded: ReadonlyMap<string, FloatTensor> = new Map();
let open: StageStream | null = null;

/** Decodes the weights, unless they are the last ones again, and gets a stage ready for its batches. */
export async function openStage({ runner, weights, ...opening }: StageOpening): Promise<void> {
  ofStage.giveBack();
  if (weights) {
    ofWeights.giveBack();
    decoded = new Map();
    decoded = decodeWeights(weights, ofWeights.take);
  }
  const memory = { weights: ofWeights.take, stage: ofStage.take };
  open = createStageStream({ ...runner, ...opening, weights: decoded, memory });
}

let lastBatch: Promise<unknown> = Promise.resolve();

/** Runs the open stage on one batch, after those that came before, and writes its outputs. */
export function runBatch(batch: SharedBatch): Promise<void> {
  const run = lastBatch.then(() => (open as StageStream).run(batch));
  lastBatch = run.catch(() => undefined);
  return run;
}

export async function closeStage(): Promise<StageSums> {
  const sums = (open as StageStream).finish();
  open = null;
  ofStage.giveBack();
  return sums;
}

/** Decodes the weights and runs one stage on everything at once. */
export function runStage({ runner, activations, weights, ...run }: StageTask): Promise<StageResult> {
  return createStageRunner(runner).run({
    ...run,
    activations: new Map(Object.entries(activations)),
    weights: decodeWeights(weights),
  });
}

/** Perplexity of the checkpoint in a directory. */
export async function measurePerplexity({ directory, ...options }: PerplexityTask): Promise<Perplexity> {
  return perplexity({ checkpoint: await openCheckpoint(directory), ...options });
}

function decodeWeights(weights: StoredWeights, take = ownMemory): Map<string, FloatTensor> {
  return new Map(Object.entries(weights).map(([name, weight]) => [name, decodeWeight(weight, take)]));
}

function decodeWeight(weight: StoredWeight, take: TakeMemory): FloatTensor {
  const floats = (shape: readonly number[]) =>
    new Float32Array(take(elementCount(shape) * Float32Array.BYTES_PER_ELEMENT));
  if ('quantized' in weight) {
    const linear = viewQuantizedLinear(weight.quantized);
    const shape = [linear.rows, linear.columns];
    return { shape, data: dequantize(linear, floats(shape)) };
  }
  return { shape: weight.shape, data: decodeFloats(weight, floats(weight.shape)) };
}
