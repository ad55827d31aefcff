import { BLOCK_TYPES } from '../checkpoints/gguf/blocks/block-types';
import { encodeBlocks } from '../checkpoints/gguf/blocks/encode-blocks';
import { roundHalfEven, roundToFloat16 } from '../numbers';
import { dequantize } from './dequantize';
import type { AffineLinear } from './grids/affine-grid';
import type { WholeLinear, WholeMethod } from './whole-method';

const BITS = 2;
const MIDDLE = 2 ** (BITS - 1);
/** What the mean of magnitudes is at least, as in BitNet's own code. */
const SMALLEST_MEAN = 1e-5;
const TERNARY_BLOCKS: readonly string[] = ['TQ1_0', 'TQ2_0'];

/**
 * BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764, equations 1 to 3): `RoundClip(W / γ, -1, 1) · γ`, γ the mean of the magnitudes of all of W. Weights that are
 * ternary already, -s, 0 and s, keep s, and lose nothing. On integer grids codes are of 2 bits, 1 to 3; in blocks of GGUF they are TQ1_0 or TQ2_0.
 */
export const ternary: WholeMethod = {
  name: 'ternary',
  grids: ['affine', 'blocks'],
  needsHessian: false,

  refuse({ bits, groupSize, symmetric, blockType }) {
    if (blockType) {
      if (TERNARY_BLOCKS.includes(blockType)) return null;
      return `${blockType} holds no ternary weights without a loss; ${TERNARY_BLOCKS.join(' and ')} do, in rows of a multiple of 256. Write the format gguf, or keep this linear in 16 bit.`;
    }
    if (bits !== BITS || groupSize !== -1 || !symmetric) {
      return 'ternary weights are symmetric codes of 2 bits with one scale. Leave bits, groupSize and symmetric out.';
    }
    return null;
  },

  async quantize(weight) {
    const linear = quantizeTernary(weight);
    const { blockType } = weight.recipe;
    if (!blockType) return linear;
    const { rows, columns, name } = weight;
    const blocks = encodeBlocks({ type: BLOCK_TYPES[blockType], values: dequantize(linear), columns, name });
    return { kind: 'blocks', rows, columns, blockType, blocks };
  },
};

function quantizeTernary({ weight, rows, columns }: WholeLinear): AffineLinear {
  const { mean, only } = magnitudesOf(weight);
  const exact = only ?? Math.max(mean, SMALLEST_MEAN);
  // What files hold.
  const scale = roundToFloat16(exact);
  const codes = Uint8Array.from(weight, (w) => {
    return MIDDLE + Math.max(-1, Math.min(1, roundHalfEven(Math.fround(w / exact))));
  });
  return {
    ...{ kind: 'affine', rows, columns, bits: BITS, groupSize: columns, symmetric: true, codes },
    scales: new Float32Array(rows).fill(scale),
    zeros: new Uint8Array(rows).fill(MIDDLE),
    groupOf: new Int32Array(columns),
  };
}

/** The mean of all magnitudes; and the only one beside 0, where that is so. */
function magnitudesOf(weight: Float32Array): { readonly mean: number; readonly only: number | null } {
  let sum = 0;
  let only: number | null = null;
  let several = false;
  for (const w of weight) {
    const magnitude = Math.abs(w);
    sum += magnitude;
    if (magnitude === 0 || magnitude === only) continue;
    several ||= only !== null;
    only = magnitude;
  }
  return { mean: Math.fround(sum / weight.length), only: several ? null : only };
}
