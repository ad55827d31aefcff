import { CPU, type Device } from '../devices/device';
import {
  activationFeatures,
  addPositions,
  createStageStream,
  embedStored,
  ScratchFloats,
  scaleEmbedding,
  stageBatchSequences,
} from '../graphs';
import { type FloatTensor, QuantloomError } from '../spec';
import { type DenseModel, readStages } from './dense-model';

export interface HiddenStatesOptions {
  readonly model: DenseModel;
  /** Whole windows, one after the other. */
  readonly tokens: Int32Array;
  /** Tokens per window. */
  readonly context: number;
  readonly threads: number;
  /** Default: the CPU. */
  readonly device?: Device | undefined;
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
  const { model, tokens, context, threads, signal, device = CPU } = options;
  const { executionProviders } = device;
  const { reader, architecture, shape, blocks } = model;
  const windows = tokens.length / context;
  const scratch = new ScratchFloats();
  const hidden = scaleEmbedding(embedStored(tokens, await reader.stored(architecture.embedding)), shape);
  if (architecture.positions) {
    addPositions(hidden, await reader.float(architecture.positions), { shape, sequenceLength: context });
  }
  const activations: Record<string, Float32Array> = { hidden };
  /** Not the one that it is read from. Two that take turns: fresh ones for every stage would be more garbage than is collected in time. */
  const outputFor = (name: string): Float32Array => {
    const length = tokens.length * activationFeatures(name, shape);
    const first = scratch.of(`${name} 1`, length);
    return activations[name]?.buffer === first.buffer ? scratch.of(`${name} 2`, length) : first;
  };
  for (const [done, block] of blocks.entries()) {
    for (const stage of block.stages) {
      signal?.throwIfAborted();
      const weights = await readStages([stage], reader);
      const given = { architecture: architecture.name, shape, stage, weights, threads, executionProviders };
      const stream = createStageStream({ ...given, gram: false, sequenceLength: context });
      const outputs = Object.fromEntries(stage.changes.map((name) => [name, outputFor(name)]));
      const perBatch = stageBatchSequences({ ...device, stage, shape, sequenceLength: context });
      for (let first = 0; first < windows; first += perBatch) {
        signal?.throwIfAborted();
        const end = Math.min(windows, first + perBatch);
        const batchOf = (name: string, all: Float32Array | undefined) => {
          const stride = context * activationFeatures(name, shape);
          return [name, (all as Float32Array).subarray(first * stride, end * stride)] as const;
        };
        await stream.run({
          sequences: end - first,
          inputs: Object.fromEntries(stage.reads.map((name) => batchOf(name, activations[name]))),
          outputs: Object.fromEntries(stage.changes.map((name) => batchOf(name, outputs[name]))),
        });
      }
      const { nonFiniteSequences } = stream.finish();
      if (nonFiniteSequences > 0) throw nonFinite(block.name, stage.name, nonFiniteSequences);
      Object.assign(activations, outputs);
    }
    options.onBlock?.(done + 1);
  }
  return { shape: [windows, context, shape.hiddenSize], data: activations.hidden as Float32Array };
}

function nonFinite(block: string, stage: string, windows: number): QuantloomError {
  return new QuantloomError(
    'InvalidModel',
    `The activations of ${windows} window(s) became NaN or infinite in ${block}, stage "${stage}". Check that the block's weights (and scales, if it is quantized) are finite.`,
    { details: { block, stage, windows } },
  );
}
