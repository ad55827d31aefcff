import { type Architecture, architectureOf, type Block, type ModelShape } from '../models';
import type { FloatTensor } from '../spec';
import type { DenseReader } from './dense-reader';

/** A checkpoint seen through its architecture. */
export interface DenseModel {
  readonly reader: DenseReader;
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  /** Decoder layers in order. */
  readonly layers: readonly Block[];
  readonly head: Block;
}

/** @throws QuantloomError UnsupportedArchitecture, InvalidModel. */
export function denseModel(reader: DenseReader): DenseModel {
  const architecture = architectureOf(reader.config);
  const shape = architecture.shape(reader.config);
  const blocks = architecture.blocks(shape, (tensor) => reader.has(tensor));
  return { reader, architecture, shape, layers: blocks.slice(0, -1), head: blocks[blocks.length - 1] as Block };
}

/** Final norm and head. A tied head is the embedding, which is not read again when it is given. */
export async function readHead(
  model: DenseModel,
  embedding?: FloatTensor,
): Promise<{ norm: FloatTensor; weight: FloatTensor; bias?: FloatTensor }> {
  const { reader, architecture, shape } = model;
  const bias = architecture.head.replace(/weight$/, 'bias');
  const tied = async () => embedding ?? (await reader.float(architecture.embedding));
  return {
    norm: await reader.float(architecture.finalNorm),
    weight: shape.tiedHead ? await tied() : await reader.float(architecture.head),
    ...(reader.has(bias) ? { bias: await reader.float(bias) } : {}),
  };
}
