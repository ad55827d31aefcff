import type { Basis, Block, LinearShape, ModelShape, TensorRotation } from './architecture';

/** Tensors outside of the layers. */
export interface OuterNames {
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
}

/**
 * The rotations of a decoder with RMS norms (SpinQuant, arXiv 2405.16406, section 3.1): R1 turns the hidden state, R2 what every attention head
 * hands from v to o. Both vanish in the product of neighbouring weights, so nothing is computed at run time. Rotary embedding
 * stands between q and k, and the activation function before down: these inner spaces stay as they are; so does that from v to o where q, k and v
 * are one matrix.
 */
export function decoderRotations(
  shape: ModelShape,
  blocks: readonly Block[],
  { embedding, finalNorm, head }: OuterNames,
): ReadonlyMap<string, TensorRotation> {
  const hidden: Basis = { size: shape.hiddenSize, seed: 0 };
  const rotations = new Map<string, TensorRotation>([
    [embedding, { columns: hidden }],
    [finalNorm, { ones: true }],
    [head, { columns: hidden, gain: finalNorm }],
  ]);
  blocks.slice(0, -1).forEach(({ stages }, layer) => {
    const headSpace: Basis = { size: shape.headSize, seed: layer + 1 };
    const isFused = stages.some(({ captures }) => captures.some(({ role }) => role === 'qkv'));
    const set = ({ name, bias }: LinearShape, weight: TensorRotation, biasRotation: TensorRotation | null) => {
      rotations.set(`${name}.weight`, weight);
      if (bias && biasRotation) rotations.set(`${name}.bias`, biasRotation);
    };
    for (const { captures, parameters } of stages) {
      const gain = parameters.norm as string;
      for (const linear of captures) {
        switch (linear.role) {
          case 'o':
            set(linear, { ...(!isFused && { columns: headSpace }), rows: hidden }, { rows: hidden });
            break;
          case 'down':
            set(linear, { rows: hidden }, { rows: hidden });
            break;
          case 'v':
            set(linear, { gain, columns: hidden, rows: headSpace }, { rows: headSpace });
            break;
          default:
            set(linear, { gain, columns: hidden }, null);
        }
      }
      for (const role of ['router', 'shared-router']) {
        const router = parameters[role];
        if (router !== undefined) rotations.set(router, { gain, columns: hidden });
      }
      rotations.set(gain, { ones: true });
    }
  });
  return rotations;
}
