import type { BlockTypeName, FileType } from '../../engine/checkpoints/gguf';
import { mean, ourLikelihood, readByLlamaCpp } from '../support/read-by-llama-cpp';

// llama.cpp rounds activations to 8 bits (16 where weights are plain) before it multiplies them with blocks.
const ROUNDED_ACTIVATIONS = 0.02;

describe('GGUF block types, read by llama.cpp', () => {
  test.each<[BlockTypeName, FileType]>([
    ['BF16', 'BF16'],
    ['Q4_0', 'Q4_0'],
    ['Q4_1', 'Q4_1'],
    ['Q5_0', 'Q5_0'],
    ['Q5_1', 'Q5_1'],
    ['Q8_0', 'Q8_0'],
    ['Q2_K', 'Q2_K'],
    ['Q3_K', 'Q3_K_M'],
    ['Q4_K', 'Q4_K_M'],
    ['Q5_K', 'Q5_K_M'],
    ['Q6_K', 'Q6_K'],
    ['IQ4_NL', 'IQ4_NL'],
    ['IQ4_XS', 'IQ4_XS'],
    ['TQ1_0', 'TQ1_0'],
    ['TQ2_0', 'TQ2_0'],
    ['MXFP4', 'MXFP4_MOE'],
  ])('llama.cpp reads our %s file: the likelihoods of the weights that we decode', async (type, fileType) => {
    const found = await readByLlamaCpp(type, fileType);
    const expected = await ourLikelihood(type, found.tokens);
    expect(Math.abs(mean(found.negativeLogLikelihoods) - expected)).toBeLessThan(ROUNDED_ACTIVATIONS * expected);
  });
});
