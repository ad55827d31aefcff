import type { ModelShape } from '../models/architecture';
import { ATTENTION_BLOCK_TOKENS } from './decoder-graph';

const FLOAT_BYTES = 4;

/**
 * Bytes of temporaries while a stage runs on one sequence, beyond weights, incoming and outgoing activations and XᵀX itself:
 * counted from the graph, an upper bound. Two copies of the captured input are the slices that XᵀX is made of.
 */
export function stageTemporaryBytesPerSequence(stage: string, shape: ModelShape, sequenceLength: number): number {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headSize } = shape;
  const context = heads * headSize;
  const keyValue = keyValueHeads * headSize;
  if (stage === 'attention') {
    const perToken = hiddenSize + 2 * context + 4 * keyValue + 4 * context;
    const block = Math.min(sequenceLength, ATTENTION_BLOCK_TOKENS);
    const scores = 2 * heads * block * sequenceLength;
    return (perToken * sequenceLength + scores) * FLOAT_BYTES;
  }
  const perToken = stage === 'mlp' ? hiddenSize + 6 * intermediateSize : 5 * hiddenSize;
  return perToken * sequenceLength * FLOAT_BYTES;
}
