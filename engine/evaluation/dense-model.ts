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

/** The tensor that the head multiplies with: the embedding when they are tied. */
export function headTensor({ architecture, shape }: DenseModel): string {
  return shape.tiedHead ? architecture.embedding : architecture.head;
}

/** What is small of the final norm and head. */
export async function readHead({
  reader,
  architecture,
}: DenseModel): Promise<{ norm: FloatTensor; bias?: FloatTensor }> {
  const bias = architecture.head.replace(/weight$/, 'bias');
  return {
    norm: await reader.float(architecture.finalNorm),
    ...(reader.has(bias) ? { bias: await reader.float(bias) } : {}),
  };
}
