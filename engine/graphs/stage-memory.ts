import type { ExpertShape, ModelShape, Stage } from '../models/architecture';
import { ATTENTION_BLOCK_TOKENS } from './decoder-graph';

const FLOAT_BYTES = 4;

/**
 * Bytes of temporaries while a stage runs on one sequence, beyond weights, incoming and outgoing activations and XᵀX itself:
 * counted from the graph, an upper bound. Two copies of the captured input are the slices that XᵀX is made of.
 */
export function stageTemporaryBytesPerSequence(
  { name: stage, allExperts }: Pick<Stage, 'name' | 'allExperts'>,
  shape: ModelShape,
  sequenceLength: number,
): number {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headSize, experts } = shape;
  const context = heads * headSize;
  const keyValue = keyValueHeads * headSize;
  if (stage === 'attention') {
    const perToken = hiddenSize + 2 * context + 4 * keyValue + 4 * context;
    const block = Math.min(sequenceLength, ATTENTION_BLOCK_TOKENS);
    const scores = 2 * heads * block * sequenceLength;
    return (perToken * sequenceLength + scores) * FLOAT_BYTES;
  }
  if (stage.startsWith('experts') || (experts && stage.endsWith('input'))) {
    return (
      expertFeatures(stage, experts as ExpertShape, hiddenSize, allExperts === true) * sequenceLength * FLOAT_BYTES
    );
  }
  const perToken = stage === 'mlp' ? hiddenSize + 6 * intermediateSize : 5 * hiddenSize;
  return perToken * sequenceLength * FLOAT_BYTES;
}

/** Floats of a token: products and rows that are gathered for experts, in their places and out of them; what experts add where the stage before was theirs. */
function expertFeatures(stage: string, experts: ExpertShape, hiddenSize: number, allExperts: boolean): number {
  const { count, perToken, intermediateSize, sharedIntermediateSize } = experts;
  const products = perToken * intermediateSize + sharedIntermediateSize;
  if (stage === 'experts') {
    const all = allExperts ? count * intermediateSize + sharedIntermediateSize : 0;
    return (2 + perToken) * hiddenSize + 6 * products + 3 * all;
  }
  return (5 + 3 * perToken) * hiddenSize + 2 * products + 4 * count;
}
