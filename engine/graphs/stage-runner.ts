import type { GramPrecision, KernelChoice } from '../kernels';
import type { ModelShape, Stage } from '../models/architecture';
import { elementCount, type FloatTensor } from '../spec';
import { activationFeatures } from './decoder-graph';
import type { MismatchedLinear } from './mismatch-sum';
import type { SessionOptions } from './session-pool';
import { type FloatTensors, layoutOf } from './stage-feeds';
import { createStageStream, type StageSums, stageBatchSequences } from './stage-stream';

export interface StageRunnerOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  /** What the factors of linears and of XᵀX are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Who multiplies. Default: what the process prefers. */
  readonly kernels?: KernelChoice;
  /** Bound on the temporaries of a sub-batch; one sequence is always run whole. Default 256 MiB. */
  readonly temporaryBytes?: number;
}

export interface StageRun {
  readonly stage: Stage;
  /** Those of `stage.reads`, `[batch, sequence, features]`. Others are ignored. */
  readonly activations: FloatTensors;
  /** By tensor name: weights `[rows, columns]` and biases of `stage.applies`, and `stage.parameters`. Others are ignored. */
  readonly weights: FloatTensors;
  /** Compute XᵀX of the captured inputs. */
  readonly gram: boolean;
  /** Find the largest magnitude of each captured input. Default: no. */
  readonly magnitudes?: boolean;
  /** Sum up the mismatch of a linear whose input is captured; its original weight is among the weights. */
  readonly mismatch?: MismatchedLinear;
  /** For the mismatch: the original model's hidden state behind the linear, `[at most batch, sequence, features]`. */
  readonly original?: FloatTensor;
  /** Tokens that are run at once, rounded down to whole sequences, at least one. Default 1024, less if memory says so. */
  readonly batchTokens?: number;
  /** Looked at between sub-batches; its reason is thrown. */
  readonly signal?: AbortSignal;
}

export interface StageResult extends StageSums {
  /** Exactly `stage.leaves`; what the stage does not change is the very tensor that came in. */
  readonly activations: Map<string, FloatTensor>;
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

/** Runs the stages of a model of one shape. Sessions are shared by all runners of the process, so runners are cheap. */
export function createStageRunner(options: StageRunnerOptions): StageRunner {
  return { run: (input) => runStage(input, options) };
}

async function runStage(input: StageRun, options: StageRunnerOptions): Promise<StageResult> {
  const { stage, activations, weights, gram, magnitudes = false, mismatch, original, signal } = input;
  const { sequences, sequenceLength } = layoutOf(stage, activations, options.shape);
  const wishes = { gram, magnitudes, ...(mismatch && { mismatch }) };
  const stream = createStageStream({ ...options, ...wishes, stage, weights, sequenceLength });
  const changed = stage.changes.map((name) => {
    const features = activationFeatures(name, options.shape);
    const data = new Float32Array(sequences * sequenceLength * features);
    return { name, shape: [sequences, sequenceLength, features], data };
  });
  const perBatch = stageBatchSequences({ ...options, stage, sequenceLength, batchTokens: input.batchTokens });
  for (let first = 0; first < sequences; first += perBatch) {
    signal?.throwIfAborted();
    const end = Math.min(sequences, first + perBatch);
    const rows = ({ data }: Pick<FloatTensor, 'data'>) => {
      const stride = data.length / sequences;
      return data.subarray(first * stride, end * stride);
    };
    const behind = original && originalOf(original, first, end);
    await stream.run({
      sequences: end - first,
      inputs: Object.fromEntries(stage.reads.map((name) => [name, rows(activations.get(name) as FloatTensor)])),
      outputs: Object.fromEntries(changed.map((tensor) => [tensor.name, rows(tensor)])),
      ...(behind && { original: behind }),
    });
  }
  const left = new Map(stage.leaves.map((name) => [name, activations.get(name) as FloatTensor]));
  for (const { name, shape, data } of changed) left.set(name, { shape, data });
  return { activations: left, ...stream.finish() };
}

/** Of the first sequences of a slice, those from `first` to `end`; undefined: none. */
function originalOf({ shape, data }: FloatTensor, first: number, end: number): Float32Array | undefined {
  const [sequences = 0, ...rest] = shape;
  const stride = elementCount(rest);
  return first < sequences ? data.subarray(first * stride, Math.min(sequences, end) * stride) : undefined;
}
