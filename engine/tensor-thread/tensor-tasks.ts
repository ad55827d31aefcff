import { openCheckpoint } from '../checkpoints';
import { type Perplexity, perplexity } from '../evaluation';
import { createStageRunner, type StageResult, type StageRun, type StageRunnerOptions } from '../graphs';
import { decodeFloats } from '../numbers';
import { dequantize, parseQuantizedLinear } from '../quantizers';
import type { FloatTensor, Tensor } from '../spec';

/** A weight as it is stored: a tensor of the source, or the bytes of a quantized linear. */
export type StoredWeight = Tensor | { readonly quantized: Uint8Array };

export interface StageTask extends Pick<StageRun, 'stage' | 'gram'> {
  readonly runner: StageRunnerOptions;
  readonly activations: Readonly<Record<string, FloatTensor>>;
  /** By tensor name. */
  readonly weights: Readonly<Record<string, StoredWeight>>;
}

export interface PerplexityTask {
  readonly directory: string;
  readonly tokens: Int32Array;
  readonly context: number;
  readonly threads: number;
  readonly activationBytes: number;
}

/** Decodes the weights and runs one stage. */
export function runStage({ runner, stage, gram, activations, weights }: StageTask): Promise<StageResult> {
  const decoded = new Map(Object.entries(weights).map(([name, weight]) => [name, decodeWeight(weight)]));
  return createStageRunner(runner).run({
    stage,
    gram,
    activations: new Map(Object.entries(activations)),
    weights: decoded,
  });
}

/** Perplexity of the checkpoint in a directory. */
export async function measurePerplexity({ directory, ...options }: PerplexityTask): Promise<Perplexity> {
  return perplexity({ checkpoint: await openCheckpoint(directory), ...options });
}

function decodeWeight(weight: StoredWeight): FloatTensor {
  if ('quantized' in weight) {
    const linear = parseQuantizedLinear(weight.quantized);
    return { shape: [linear.rows, linear.columns], data: dequantize(linear) };
  }
  return { shape: weight.shape, data: decodeFloats(weight) };
}
