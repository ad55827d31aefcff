import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { architectureOf } from '../../models';
import { readJsonObject } from '../../sources/read-json-object';
import { type DType, QuantloomError, type Tensor } from '../../spec';
import type { StoredLinears, StoredModel } from '../weight-container';
import { blockSettings } from './block-settings';
import type { BlockTypeName } from './blocks/block-type';
import { BLOCK_TYPES } from './blocks/block-types';
import type { GgufMetadata } from './container/gguf-value';
import type { PlacedTensor } from './container/layout-gguf';
import { MAX_TENSORS } from './container/limits';
import { readGgufHeader, readGgufTensor } from './container/read-gguf';
import { ggufFileAt } from './gguf-file-at';
import { BLOCKS, ggufStorage } from './gguf-storage';
import { configOfMetadata } from './models/config-of-metadata';
import { ggufArchitectureOf } from './models/gguf-architectures';
import type { GgufTensorPlan } from './models/plan-gguf-tensors';
import { invertRowOrder, reorderRows, rotaryRowOrder } from './models/rotary-row-order';
import { sourceTensorsOf } from './models/source-tensors-of';
import { isGain, isTransposed } from './models/tensor-names';
import { sourceTensor } from './models/tensor-values';

const MAX_CONFIG_BYTES = 16_000_000;
const PLAIN: readonly string[] = ['F32', 'F16', 'BF16'] satisfies BlockTypeName[];

/**
 * Opens a GGUF file of any producer under the names of safetensors, rows in their order. What the model is follows from config.json
 * beside it, else from its header; its linears are what their blocks are.
 *
 * @throws QuantloomError InvalidModel, InvalidCheckpoint, UnsupportedArchitecture, UnsupportedInput.
 */
export async function openGguf(path: string): Promise<StoredModel> {
  const { file, directory } = await ggufFileAt(path);
  const header = await readGgufHeader(file);
  refuseParts(file, header.metadata);
  const config =
    (await readConfig(join(directory, 'config.json'))) ?? configOfMetadata(header.metadata, header.tensors);
  const model = architectureOf(config);
  const architecture = ggufArchitectureOf(model.name);
  const shape = model.shape(config);

  const places = new Map<string, PlacedTensor & Pick<GgufTensorPlan, 'transposed' | 'added'>>();
  const tensors = new Map<string, { readonly dtype: DType; readonly shape: readonly number[] }>();
  for (const tensor of header.tensors.values()) {
    refuseMany(file, tensor, places.size);
    for (const { name: source, place } of sourceTensorsOf(architecture, tensor)) {
      const plain = PLAIN.includes(place.type);
      const name = plain ? source : source.replace(/weight$/, BLOCKS);
      const [rows = 1] = place.shape;
      const change = {
        transposed: isTransposed(architecture, name),
        added: isGain(tensor.name) ? (shape.gainOffset ?? 0) : 0,
      };
      places.set(name, { ...place, ...change });
      tensors.set(name, {
        dtype: plain ? (place.type as DType) : 'U8',
        shape: plain ? (change.transposed ? place.shape.toReversed() : place.shape) : [rows, place.bytes / rows],
      });
    }
  }
  const linears: StoredLinears = {
    storage: ggufStorage,
    layout: 'gguf',
    describedBy: 'the header says',
    settingsOf(module) {
      const type = places.get(`${module}.${BLOCKS}`)?.type;
      return type ? blockSettings(BLOCK_TYPES[type]) : null;
    },
  };
  const quantized = [...tensors.values()].some(({ dtype }) => dtype === 'U8');

  return {
    config,
    tensors,
    ...(quantized && { linears }),
    weightBytes: (await stat(file)).size,
    async read(name): Promise<Tensor> {
      const place = places.get(name) as typeof places extends Map<string, infer Place> ? Place : never;
      const { dtype, shape: size } = tensors.get(name) as { dtype: DType; shape: readonly number[] };
      const stored = await readGgufTensor(file, place);
      const inFile = place.transposed ? size.toReversed() : size;
      const { data } = sourceTensor({ dtype, shape: inFile, data: stored }, place);
      const heads = architecture.permutedHeads(name.replace(/\.[^.]*$/, ''), shape);
      if (heads === 0) return { dtype, shape: size, data };
      const order = invertRowOrder(rotaryRowOrder(size[0] as number, heads));
      return { dtype, shape: size, data: reorderRows(data, order) };
    },
  };
}

/** A header of a few bytes can claim a stack of any height. */
function refuseMany(file: string, { name, shape }: PlacedTensor, known: number): void {
  const matrices = shape.length === 3 ? (shape[0] as number) : 1;
  if (known + matrices <= MAX_TENSORS) return;
  throw new QuantloomError(
    'InvalidModel',
    `${file} is not a valid GGUF file: the matrices of ${JSON.stringify(name)} and those before it are ${known + matrices}; ${MAX_TENSORS} are allowed.`,
  );
}

function refuseParts(file: string, metadata: GgufMetadata): void {
  const parts = Number(metadata.get('split.count')?.value ?? 1);
  if (parts <= 1) return;
  throw new QuantloomError(
    'UnsupportedInput',
    `${file} is one of ${parts} files of a model. Put them together with llama-gguf-split --merge.`,
  );
}

/** null: there is none. A quantization_config would be of other files. */
async function readConfig(path: string): Promise<Record<string, unknown> | null> {
  if (!(await stat(path).catch(() => null))) return null;
  const { quantization_config: _, ...config } = await readJsonObject(path, MAX_CONFIG_BYTES);
  return config;
}
