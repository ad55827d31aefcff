import { deviceOutOfMemory, isOutOfMemory } from '../devices/out-of-memory';
import type { GramPrecision, KernelChoice } from '../kernels';
import type { TakeMemory } from '../memory';
import type { ModelShape, Stage } from '../models/architecture';
import { createGramSums } from './gram-sums';
import { InputMagnitudes } from './input-magnitudes';
import { type MismatchBatch, type MismatchedLinear, MismatchSum, type SummedMismatch } from './mismatch-sum';
import { releaseSessions, type SessionOptions } from './session-pool';
import type { FloatTensors } from './stage-feeds';
import { stageForward } from './stage-forward';
import { stageTemporaryBytesPerSequence } from './stage-memory';
import type { StoredActivation } from './stored-activation';

export interface StageStreamOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  readonly stage: Stage;
  /** By tensor name: weights `[rows, columns]` and biases of `stage.applies`, and `stage.parameters`. Others are ignored. */
  readonly weights: FloatTensors;
  /** Compute XᵀX of the captured inputs. */
  readonly gram: boolean;
  /** Find the largest magnitude of each captured input. Default: no. */
  readonly magnitudes?: boolean;
  /** Sum up what the captured input knows of what has gone wrong before this linear; its original weight is among the weights. */
  readonly mismatch?: MismatchedLinear;
  /** What the factors of linears and of XᵀX are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Who multiplies. Default: what the process prefers. */
  readonly kernels?: KernelChoice;
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** Where memory comes from. Default: fresh. */
  readonly memory?: StageMemory;
}

export interface StageMemory {
  /** Lasts as long as the weights that the stage was given. */
  readonly weights: TakeMemory;
  /** Lasts until the stage is finished. */
  readonly stage: TakeMemory;
}

/** Some whole sequences. Arrays are `[sequences · sequenceLength, features]`, by the activation's name. */
export interface StageBatch {
  readonly sequences: number;
  /** Default: those of the stage. */
  readonly threads?: number;
  /** Those of `stage.reads`. */
  readonly inputs: Readonly<Record<string, StoredActivation>>;
  /** For the mismatch: the hidden state of the original model behind the linear, for the first sequences or all of them. */
  readonly original?: StoredActivation;
  /** Those of `stage.changes`; written. */
  readonly outputs: Readonly<Record<string, StoredActivation>>;
}

/** What a stage sums up over all that it was run on. */
export interface StageSums {
  /** XᵀX `[columns, columns]` over the finite sequences; of several inputs a stack (engine/models/matrix-stack.ts). null when not asked for. */
  readonly gram: Float32Array | null;
  /** By captured input: its largest magnitude over the finite sequences; 0 where no token came to it. null when not asked for. */
  readonly magnitudes: readonly number[] | null;
  /** Tokens that XᵀX sums over (that it would, when not asked for). */
  readonly tokens: number;
  /** Sequences whose captured input held NaN, infinity, or values whose squares overflow float32; they are left out of XᵀX. */
  readonly nonFiniteSequences: number;
  /** null when not asked for. */
  readonly mismatch: SummedMismatch | null;
  /** That XᵀX took, where the graph does not multiply it. */
  readonly gramSeconds: number;
}

/** One stage with its weights, to which a slice is shown batch after batch. */
export interface StageStream {
  /**
   * One call at a time; the order of batches, and their sizes, decide the last bits of XᵀX.
   *
   * @throws QuantloomError DeviceOutOfMemory with `{ sequences, sequenceLength }`; retryable while there are fewer to try.
   */
  run(batch: StageBatch): Promise<void>;
  finish(): StageSums;
}

const DEFAULT_TEMPORARY_BYTES = 256 * 2 ** 20;
/** Enough rows for the full speed of products; more would leave the processor's caches. */
const DEFAULT_BATCH_TOKENS = 1024;

/** Sequences that a stage is run on at once: `batchTokens` (default 1024), less if the temporaries need it, at least one. */
export function stageBatchSequences(options: {
  readonly stage: Stage;
  readonly shape: ModelShape;
  readonly sequenceLength: number;
  readonly temporaryBytes?: number;
  readonly batchTokens?: number;
}): number {
  const { stage, shape, sequenceLength } = options;
  const bytes = stageTemporaryBytesPerSequence(stage, shape, sequenceLength);
  const byMemory = (options.temporaryBytes ?? DEFAULT_TEMPORARY_BYTES) / bytes;
  const byTokens = (options.batchTokens ?? DEFAULT_BATCH_TOKENS) / sequenceLength;
  return Math.max(1, Math.floor(Math.min(byMemory, byTokens)));
}

/** @throws QuantloomError InvalidModel when a weight is missing or has another shape. */
export function createStageStream(options: StageStreamOptions): StageStream {
  const { sequenceLength } = options;
  const sums = options.gram ? createGramSums(options) : null;
  const magnitudes = options.magnitudes ? new InputMagnitudes(options) : null;
  const mismatch = options.mismatch ? new MismatchSum({ ...options, ...options.mismatch }) : null;
  const capturing = magnitudes !== null || (sums !== null && sums.inGraph === null);
  const forward = stageForward(options, sums?.inGraph ?? null, capturing);
  let finiteSequences = 0;
  let sequences = 0;
  let gramSeconds = 0;

  return {
    run: (given) =>
      pass(given).catch(async (error: unknown) => {
        if (!isOutOfMemory(error)) throw error;
        await releaseSessions();
        throw deviceOutOfMemory({ stage: options.stage.name, sequences: given.sequences, sequenceLength }, error);
      }),
    finish,
  };

  async function pass(given: StageBatch): Promise<void> {
    const batch = { ...given, threads: given.threads ?? options.threads };
    const { energy, captured } = await forward.run(batch);
    const finite = Array.from({ length: batch.sequences }, (_, i) => i).filter((i) =>
      energy.subarray(i * sequenceLength, (i + 1) * sequenceLength).every(Number.isFinite),
    );
    if (mismatch && batch.original) {
      const { hidden, [options.mismatch?.input as string]: input } = { ...batch.inputs, ...batch.outputs };
      await mismatch.add({ hidden, original: batch.original, input, threads: batch.threads } as MismatchBatch);
    }
    sequences += batch.sequences;
    finiteSequences += finite.length;
    if (finite.length > 0) magnitudes?.add(batch, captured as Float32Array, finite);
    if (sums === null || finite.length === 0) return;
    // Rare enough that XᵀX without the spoilt sequences may cost a second run.
    if (!captured && finite.length < batch.sequences) await forward.run(batch, finite);
    const began = performance.now();
    await sums.add(batch, captured, finite);
    gramSeconds += (performance.now() - began) / 1000;
  }

  function finish(): StageSums {
    return {
      gram: sums?.total() ?? null,
      magnitudes: magnitudes?.largest() ?? null,
      tokens: finiteSequences * sequenceLength,
      nonFiniteSequences: sequences - finiteSequences,
      mismatch: mismatch?.total() ?? null,
      gramSeconds,
    };
  }
}
