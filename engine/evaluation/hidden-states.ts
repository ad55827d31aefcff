import { createStageRunner, embedStored } from '../graphs';
import type { Stage } from '../models';
import { type FloatTensor, QuantloomError } from '../spec';
import type { DenseModel } from './dense-model';
import type { DenseReader } from './dense-reader';

export interface HiddenStatesOptions {
  readonly model: DenseModel;
  /** Whole windows, one after the other. */
  readonly tokens: Int32Array;
  /** Tokens per window. */
  readonly context: number;
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Called after each block with the number of blocks done. */
  readonly onBlock?: (done: number) => void;
}

/**
 * Forward pass block by block over all windows: memory is the activations of the windows and the weights of one stage.
 *
 * @returns `[windows, context, hiddenSize]`: what the last layer left, before the final norm.
 * @throws QuantloomError UnsupportedInput for a token outside the vocabulary; InvalidModel when a weight does not fit, or when
 * activations become NaN or infinite (naming the stage).
 */
export async function hiddenStates(options: HiddenStatesOptions): Promise<FloatTensor> {
  const { model, tokens, context, threads, signal } = options;
  const { reader, architecture, shape, layers, head } = model;
  const runner = createStageRunner({ architecture: architecture.name, shape, threads });
  const data = embedStored(tokens, await reader.stored(architecture.embedding));
  let activations = new Map<string, FloatTensor>([
    ['hidden', { shape: [tokens.length / context, context, shape.hiddenSize], data }],
  ]);
  for (const [done, block] of [...layers, head].entries()) {
    for (const stage of block.stages) {
      signal?.throwIfAborted();
      const weights = await weightsOf(stage, reader);
      const result = await runner.run({ stage, activations, weights, gram: false, signal });
      if (result.nonFiniteSequences > 0) throw nonFinite(block.name, stage.name, result.nonFiniteSequences);
      activations = result.activations;
    }
    options.onBlock?.(done + 1);
  }
  return activations.get('hidden') as FloatTensor;
}

/** The tensors that a stage is run with, by name. */
async function weightsOf(stage: Stage, reader: DenseReader): Promise<Map<string, FloatTensor>> {
  const linears = stage.applies.flatMap(({ name, bias }) => [`${name}.weight`, ...(bias ? [`${name}.bias`] : [])]);
  const weights = new Map<string, FloatTensor>();
  for (const name of [...linears, ...Object.values(stage.parameters)]) weights.set(name, await reader.float(name));
  return weights;
}

function nonFinite(block: string, stage: string, windows: number): QuantloomError {
  return new QuantloomError(
    'InvalidModel',
    `The activations of ${windows} window(s) became NaN or infinite in ${block}, stage "${stage}". Check that the block's weights (and scales, if it is quantized) are finite.`,
    { details: { block, stage, windows } },
  );
}
