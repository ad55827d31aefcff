import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { type GraphProto, ModelProtoSchema, type NodeProto, type TensorProto } from 'onnx-buf';
import { STORED_TYPES } from '../../graphs/graph-builder';
import { readJsonObject } from '../../sources/read-json-object';
import { type DType, elementCount, QuantloomError, type Tensor } from '../../spec';
import { openBytes } from '../verification/byte-source';
import type { StoredLinears, StoredModel } from '../weight-container';
import { isRotaryCache } from './decoder-model';
import { isModelFile, MODEL_DIRECTORY, modelFilesOf } from './model-files';
import { AS_BLOCKS, CODES, COLUMN_ORDER, int64Tensor, SHAPE, ZERO_POINTS } from './nbits-tensors';
import type { StoredBits } from './nbits-weight';
import { nbitsSettings, onnxStorage } from './onnx-storage';

const MAX_CONFIG_BYTES = 16_000_000;
const DTYPES: ReadonlyMap<number, keyof typeof STORED_TYPES> = new Map(
  Object.entries(STORED_TYPES).map(([dtype, type]) => [type, dtype as keyof typeof STORED_TYPES]),
);

interface Place {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly begin: number;
  readonly end: number;
}

/**
 * Opens the model of a directory that Quantloom wrote, under the names of the source: its constants have these names, and the nodes say how those
 * of quantized linears are used. What such a model computes follows from config.json.
 *
 * @throws QuantloomError InvalidCheckpoint, UnsupportedInput for a model of another producer.
 */
export async function openOnnx(directory: string): Promise<StoredModel> {
  const { file, dtype } = await modelFileOf(directory);
  const path = join(directory, file);
  const graph = await readGraph(path);
  const places = new Map<string, Place>();
  for (const tensor of graph.initializer) {
    const { name, externalData } = tensor;
    if (externalData.length === 0 || isRotaryCache(name) || name.endsWith(AS_BLOCKS)) continue;
    places.set(name, placeOf(tensor, path));
  }
  const small = new Map<string, Tensor>();
  const bits = new Map<string, StoredBits>();
  for (const { module, width, shape, order } of linearsOf(graph)) {
    bits.set(module, width);
    small.set(`${module}.${SHAPE}`, int64Tensor(shape));
    if (order) small.set(`${module}.${COLUMN_ORDER}`, int64Tensor(order));
  }
  for (const { module, width, shape, blockSize } of tablesOf(graph)) {
    bits.set(module, width);
    small.set(`${module}.${SHAPE}`, int64Tensor(shape));
    const codes = `${module}.${CODES[width]}`;
    const blockBytes = (blockSize * width) / 8;
    const place = places.get(codes) as Place;
    const [rows = 0, rowBytes = 0] = place.shape;
    places.set(codes, { ...place, shape: [rows, rowBytes / blockBytes, blockBytes] });
  }
  const linears: StoredLinears = {
    storage: onnxStorage,
    layout: dtype,
    describedBy: 'the graph says',
    settingsOf(module) {
      const width = bits.get(module);
      return width ? nbitsSettings(width, !places.has(`${module}.${ZERO_POINTS}`)) : null;
    },
  };
  return {
    config: await readJsonObject(join(directory, 'config.json'), MAX_CONFIG_BYTES),
    ...(bits.size > 0 && { linears }),
    tensors: new Map<string, Pick<Place, 'dtype' | 'shape'>>([...places, ...small]),
    weightBytes: await sizeOf(directory, [file, ...new Set([...places.values()].map((place) => place.file))]),
    async read(name) {
      const known = small.get(name);
      if (known) return known;
      const { dtype, shape, file, begin, end } = places.get(name) as Place;
      const source = await openBytes(join(directory, file));
      try {
        return { dtype, shape, data: await source.read(begin, end) };
      } finally {
        await source.close();
      }
    },
  };
}

/** The one model of the directory, by a name that we give. */
async function modelFileOf(directory: string): Promise<{ file: string; dtype: string }> {
  const names = (await readdir(join(directory, MODEL_DIRECTORY)).catch(() => [])).map(
    (name) => `${MODEL_DIRECTORY}/${name}`,
  );
  const models = names.filter((name) => isModelFile(name) && name.endsWith('.onnx'));
  const [file] = models;
  if (file === undefined || models.length > 1) {
    throw invalid(directory, `${models.length} models in ${MODEL_DIRECTORY}/; one is read`);
  }
  const dtype = dtypeOfModel(file);
  if (dtype !== null) return { file, dtype };
  throw foreign(join(directory, file), 'its name is none that Quantloom gives');
}

function dtypeOfModel(file: string): string | null {
  return ['fp32', 'q2', 'q4', 'q8'].find((dtype) => modelFilesOf(dtype).model === file) ?? null;
}

async function readGraph(path: string): Promise<GraphProto> {
  const bytes = await readFile(path);
  try {
    const { graph, producerName } = fromBinary(ModelProtoSchema, bytes);
    if (producerName !== 'quantloom') throw foreign(path, `it was written by ${JSON.stringify(producerName)}`);
    if (graph) return graph;
  } catch (cause) {
    if (QuantloomError.is(cause)) throw cause;
    throw invalid(path, `it is no ONNX model (${(cause as Error).message})`);
  }
  throw invalid(path, 'the model has no graph');
}

function placeOf({ name, dataType, dims, externalData }: TensorProto, path: string): Place {
  const dtype = DTYPES.get(dataType);
  const {
    location = '',
    offset = '0',
    length = '',
  } = Object.fromEntries(externalData.map(({ key, value }) => [key, value]));
  const shape = dims.map(Number);
  const begin = Number(offset);
  const end = begin + Number(length);
  if (!dtype || !/^[^/\\]+$/.test(location) || !(begin >= 0) || !(end >= begin)) {
    throw invalid(path, `${name} has no place in a file beside the model`);
  }
  const itemBytes = { U8: 1, F16: 2, BF16: 2, F32: 4 }[dtype];
  if (elementCount(shape) * itemBytes !== end - begin) {
    throw invalid(path, `${name}, ${dtype} [${shape.join(', ')}], has ${end - begin} bytes`);
  }
  return { dtype, shape, file: `${MODEL_DIRECTORY}/${location}`, begin, end };
}

interface LinearOfGraph {
  readonly module: string;
  readonly width: StoredBits;
  /** Rows and columns. */
  readonly shape: readonly [number, number];
  /** null: columns are in order. */
  readonly order: readonly number[] | null;
}

/** By the nodes that multiply with them. */
function linearsOf({ node: nodes, initializer }: GraphProto): LinearOfGraph[] {
  const constants = new Map(initializer.map((tensor) => [tensor.name, tensor]));
  const producers = new Map(nodes.flatMap((node) => node.output.map((output) => [output, node] as const)));
  return nodes.flatMap((node) => {
    const [x = '', codes = ''] = node.input;
    // A head that is the embedding is read as that.
    if (node.opType !== 'MatMulNBits' || codes.endsWith(AS_BLOCKS)) return [];
    const width = Number(attribute(node, 'bits')) as StoredBits;
    const order = producers.get(x);
    const indices = order?.opType === 'Gather' ? constants.get(order.input[1] ?? '') : undefined;
    return {
      module: codes.slice(0, -`.${CODES[width]}`.length),
      width,
      shape: [Number(attribute(node, 'N')), Number(attribute(node, 'K'))] as const,
      order: indices?.dims.length === 1 ? indices.int64Data.map(Number) : null,
    };
  });
}

interface TableOfGraph extends Omit<LinearOfGraph, 'order'> {
  readonly blockSize: number;
}

/** By the nodes that pick rows of them. Where the last block of a row is not full, what is behind its end is cut off. */
function tablesOf({ node: nodes, initializer }: GraphProto): TableOfGraph[] {
  const constants = new Map(initializer.map((tensor) => [tensor.name, tensor]));
  return nodes.flatMap((node) => {
    if (node.opType !== 'GatherBlockQuantized') return [];
    const [codes = '', , scales = ''] = node.input;
    const width = Number(attribute(node, 'bits')) as StoredBits;
    const blockSize = Number(attribute(node, 'block_size'));
    const cut = nodes.find(({ opType, input }) => opType === 'Slice' && input[0] === node.output[0]);
    const [rows = 0, blocks = 0] = (constants.get(scales)?.dims ?? []).map(Number);
    const columns = cut ? Number(constants.get(cut.input[2] ?? '')?.int64Data[0]) : blocks * blockSize;
    return { module: codes.slice(0, -`.${CODES[width]}`.length), width, shape: [rows, columns] as const, blockSize };
  });
}

function attribute({ attribute: attributes }: NodeProto, name: string): bigint | undefined {
  return attributes.find((candidate) => candidate.name === name)?.i;
}

async function sizeOf(directory: string, files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(directory, file))).size));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

function foreign(path: string, evidence: string): QuantloomError {
  return new QuantloomError(
    'UnsupportedInput',
    `${path}: ${evidence}. Of ONNX models, those that Quantloom wrote can be read; name the checkpoint that this one was made from.`,
  );
}

function invalid(path: string, fault: string): QuantloomError {
  return new QuantloomError('InvalidCheckpoint', `${path}: ${fault}. Write the model again.`);
}
