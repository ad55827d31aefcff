import type { FloatTensor, Tensor } from '../../spec';
import { dequantizeLinear } from '../dequantize-linear';
import type { CheckpointReader } from '../open-checkpoint';
import { type NBitsWeight, nbitsWeight } from './nbits-weight';

/** What a model is written from, tensor by tensor. */
export interface OnnxSource {
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  has(tensor: string): boolean;
  /** A tensor that is not quantized, as it is stored. @throws QuantloomError InvalidCheckpoint when there is none. */
  stored(tensor: string): Promise<Tensor>;
  /** The weight of a module that is quantized: as the operator takes it, or in floats `[rows, columns]`; null: it is not. @throws QuantloomError. */
  linear(module: string): Promise<NBitsWeight | FloatTensor | null>;
}

/** A checkpoint in any format. MatMulNBits computes on affine grids; what lies on others is written dequantized. */
export function sourceOfCheckpoint({
  config,
  has,
  stored,
  linear: read,
}: Pick<CheckpointReader, 'config' | 'has' | 'stored' | 'linear'>): OnnxSource {
  return {
    config,
    has,
    stored,
    async linear(module) {
      const linear = await read(module);
      if (!linear) return null;
      return 'kind' in linear && linear.kind === 'affine' ? nbitsWeight(module, linear) : dequantizeLinear(linear);
    },
  };
}
