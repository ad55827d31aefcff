import {
  type Architecture,
  architectureOf,
  type Block,
  type LinearShape,
  type ModelShape,
  type Stage,
} from '../models';
import { transposed } from '../numbers';
import type { FloatTensor } from '../spec';
import type { DenseReader } from './dense-reader';

/** A checkpoint seen through its architecture. */
export interface DenseModel {
  readonly reader: DenseReader;
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  /** Decoder layers in order, then the head. */
  readonly blocks: readonly Block[];
  readonly head: Block;
}

/** @throws QuantloomError UnsupportedArchitecture, InvalidModel. */
export function denseModel(reader: DenseReader): DenseModel {
  const architecture = architectureOf(reader.config, (tensor) => reader.has(tensor));
  const shape = architecture.shape(reader.config);
  const blocks = architecture.blocks(shape, (tensor) => reader.has(tensor)).map((block) => withInputs(block, reader));
  return { reader, architecture, shape, blocks, head: blocks[blocks.length - 1] as Block };
}

/** Linears know what their inputs are rounded to, where the checkpoint says so. */
function withInputs(block: Block, reader: DenseReader): Block {
  if (!reader.inputs) return block;
  const stages = block.stages.map((stage) => ({
    ...stage,
    applies: stage.applies.map((linear) => {
      const inputs = reader.inputs?.(linear.name);
      return inputs ? { ...linear, inputs } : linear;
    }),
  }));
  return { ...block, stages };
}

/** The tensor that the head multiplies with: the embedding when they are tied. */
export function headTensor({ architecture, shape }: DenseModel): string {
  return shape.tiedHead ? architecture.embedding : architecture.head;
}

/** What is small of the final norm and head. */
export async function readHead({
  reader,
  architecture,
  head,
}: DenseModel): Promise<{ architecture: string; norm: FloatTensor; normBias?: FloatTensor; bias?: FloatTensor }> {
  const bias = architecture.head.replace(/weight$/, 'bias');
  const normBias = head.stages[0]?.parameters['norm.bias'];
  return {
    architecture: architecture.name,
    norm: await reader.float(architecture.finalNorm),
    ...(normBias ? { normBias: await reader.float(normBias) } : {}),
    ...(reader.has(bias) ? { bias: await reader.float(bias) } : {}),
  };
}

/** The tensors that stages are run with, by name: linears as `[rows, columns]`, however the files have them. */
export async function readStages(stages: readonly Stage[], reader: DenseReader): Promise<Map<string, FloatTensor>> {
  const weights = new Map<string, FloatTensor>();
  for (const { applies, parameters } of stages) {
    for (const linear of applies) {
      weights.set(`${linear.name}.weight`, await readLinear(linear, reader));
      if (linear.bias) weights.set(`${linear.name}.bias`, await reader.float(`${linear.name}.bias`));
      const scale = linear.inputs?.scale && `${linear.name}.${linear.inputs.scale}`;
      if (scale) weights.set(scale, { shape: [1], data: (await reader.float(scale)).data });
    }
    for (const name of Object.values(parameters)) weights.set(name, await reader.float(name));
  }
  return weights;
}

async function readLinear({ name, transposed: isTransposed }: LinearShape, reader: DenseReader): Promise<FloatTensor> {
  const tensor = `${name}.weight`;
  const weight = await reader.float(tensor);
  if (!isTransposed || reader.quantized?.(tensor)) return weight;
  const [columns, rows] = weight.shape as [number, number];
  return { shape: [rows, columns], data: transposed(weight.data, columns) };
}
