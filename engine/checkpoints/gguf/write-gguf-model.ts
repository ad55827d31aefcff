import { architectureOf } from '../../models';
import { decodeFloats } from '../../numbers';
import type { SourceDirectory } from '../../sources';
import type { SourceTensor } from '../../spec';
import type { OutputFile } from '../output-file';
import { readTensor } from '../safetensors';
import type { BlockTypeName } from './blocks/block-type';
import { BLOCK_TYPES } from './blocks/block-types';
import { encodeBlocks } from './blocks/encode-blocks';
import { writeGguf } from './container/write-gguf';
import { type FileType, generalMetadata } from './models/general-metadata';
import { ggufArchitectureOf } from './models/gguf-architectures';
import { type GgufTensorPlan, planGgufTensors } from './models/plan-gguf-tensors';
import { reorderRows } from './models/rotary-row-order';
import { plannedFloats } from './models/tensor-values';
import { readTokenizerSource } from './tokenizer/read-tokenizer-source';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata';

/** Weights of a matrix that are encoded at once. */
const WEIGHTS_AT_ONCE = 1 << 22;

export interface WriteGgufModelOptions {
  readonly source: SourceDirectory;
  /** Must not exist. */
  readonly path: string;
  /** The model's name for people. */
  readonly name: string;
  readonly fileType: FileType;
  /** What a matrix is stored as, by its name in the source. */
  typeOf(tensor: string): BlockTypeName;
  /** Mean square of each input feature of a matrix, for the search; undefined: all alike. */
  importanceOf?(tensor: string): Float32Array | undefined;
}

/**
 * Writes a dense model as one GGUF file, tokenizer included. Memory is bounded by the largest tensor of the source.
 *
 * @throws QuantloomError UnsupportedArchitecture, UnsupportedInput, InvalidModel, NonFiniteWeights, OutputExists, OutputUnwritable.
 */
export async function writeGgufModel(options: WriteGgufModelOptions): Promise<OutputFile> {
  const { source, path, name, fileType, typeOf } = options;
  const model = architectureOf(source.config);
  const shape = model.shape(source.config);
  const architecture = ggufArchitectureOf(model.name);
  const tensors = Object.values(source.tensors);
  const plans = planGgufTensors({ architecture, shape, config: source.config, tensors, typeOf });
  const tokenizer = await readTokenizerSource({ ...source, vocabularySize: shape.vocabularySize });
  const planned = new Map(plans.map((plan) => [plan.name, plan]));
  const extra = architecture.extraTensors(shape, source.config);
  return writeGguf({
    path,
    metadata: new Map([
      ...generalMetadata({ architecture: architecture.name, name, fileType }),
      ...architecture.metadata(shape, source.config),
      ...tokenizerMetadata(tokenizer),
    ]),
    tensors: plans,
    async *read(tensor) {
      const plan = planned.get(tensor.name) as GgufTensorPlan;
      if (plan.source === null) {
        yield* encodedRows(plan, extra.get(plan.name) as Float32Array);
        return;
      }
      for (const part of plan.experts ?? [plan.source]) {
        const stored = await readTensor(source.directory, source.tensors[part] as SourceTensor);
        const values = plannedFloats(plan, { shape: stored.shape, data: decodeFloats(stored) });
        yield* encodedRows(plan, values, options.importanceOf?.(part));
      }
    },
  });
}

/** Some rows at a time, in the order of the file: of a tensor, or of one in its stack. */
function* encodedRows(plan: GgufTensorPlan, values: Float32Array, importance?: Float32Array): Generator<Uint8Array> {
  const columns = plan.shape[plan.shape.length - 1] as number;
  const rows = values.length / columns;
  const ordered = plan.rowOrder === null ? values : reorderFloats(values, plan.rowOrder);
  const rowsAtOnce = Math.max(1, Math.floor(WEIGHTS_AT_ONCE / columns));
  for (let first = 0; first < rows; first += rowsAtOnce) {
    yield encodeBlocks({
      type: BLOCK_TYPES[plan.type],
      values: ordered.subarray(first * columns, Math.min(rows, first + rowsAtOnce) * columns),
      columns,
      importance,
      name: plan.name,
    });
  }
}

function reorderFloats(values: Float32Array, order: Int32Array): Float32Array {
  return new Float32Array(
    reorderRows(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), order).buffer,
  );
}
