import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ByteSource, openBytes } from '../verification/byte-source';
import { CheckRecord } from '../verification/check';
import type { StoredTensor } from '../verification/stored-tensors';
import type { InspectedModel } from '../weight-container';
import { type RawConstant, type RawGraph, readRawGraph } from './raw-onnx-graph';

/** Numbers of onnx.proto's TensorProto.DataType, with the names of safetensors and the bytes of an element. */
const TYPES: Readonly<Record<number, readonly [dtype: string, bytes: number]>> = {
  ...{ 1: ['F32', 4], 2: ['U8', 1], 10: ['F16', 2], 16: ['BF16', 2] },
};

/** Tables of cosines and sines, which follow from config.json. */
const TABLE = /^(cos|sin)_cache(_\d+)?$/;

/** Behind the name of codes: the same bytes once more, for a head that is the embedding. */
const SECOND_NAME = '_blocks';

interface Found extends StoredTensor {
  read(): Promise<Buffer>;
}

/** The model of a directory for verification, under the names of the source: read without the code that wrote it. */
export async function inspectOnnx(directory: string): Promise<InspectedModel> {
  const check = new CheckRecord('graph and data files agree', 'tensor');
  const folder = join(directory, 'onnx');
  const opened = new Map<string, ByteSource>();
  const tensors = new Map<string, Found>();
  try {
    const names = await readdir(folder);
    for (const name of names.filter((file) => /_data(_\d+)?$/.test(file))) {
      opened.set(name, await openBytes(join(folder, name)));
    }
    const [model = ''] = names.filter((file) => file.endsWith('.onnx'));
    const graph = readRawGraph(await readFile(join(folder, model)));
    checkPlaces(graph, opened, check);
    const picked = tablesInBlocks(graph, check);
    for (const [name, constant] of graph.constants) {
      const source = opened.get(constant.location);
      const type = TYPES[constant.type];
      if (!source || !type || TABLE.test(name) || name.endsWith(SECOND_NAME)) continue;
      const { dims, offset, length } = constant;
      const shape = picked.blocks.get(name) ?? dims;
      tensors.set(name, { dtype: type[0], shape, read: () => source.read(offset, offset + length) });
    }
    for (const [name, values] of [...attributesOfLinears(graph, check), ...picked.shapes]) {
      tensors.set(name, { dtype: 'I64', shape: [values.length], read: async () => integerBytes(values) });
    }
  } catch (error) {
    check.find((error as Error).message);
  }
  return {
    check,
    stored: {
      tensors,
      async read(name) {
        const found = tensors.get(name);
        if (!found) throw new Error(`${name} is missing`);
        return found.read();
      },
      async close() {
        for (const source of opened.values()) await source.close();
      },
    },
  };
}

/** Every constant has the bytes of its shape, behind the one before it and within its file, which ends with the last one. */
function checkPlaces({ constants }: RawGraph, files: ReadonlyMap<string, ByteSource>, check: CheckRecord): void {
  const ends = new Map<string, number>();
  for (const [name, constant] of [...constants].sort(([, a], [, b]) => a.offset - b.offset)) {
    if (name.endsWith(SECOND_NAME)) continue;
    const { location, offset, length } = constant;
    const end = ends.get(location) ?? 0;
    const bytes = bytesOf(constant);
    check.expect(length === bytes, () => `${name} has ${length} bytes, its type and shape ${bytes}`);
    if (!files.has(location)) check.find(`${name} lies in ${JSON.stringify(location)}, which is not there`);
    if (!(offset >= end))
      check.find(`${name} begins at byte ${offset} of ${location}, the tensor before it ends at ${end}`);
    ends.set(location, offset + length);
  }
  for (const [file, { size }] of files) {
    const end = ends.get(file);
    if (end !== size) check.find(`${file} has ${size} bytes, its tensors end at ${end ?? 0}`);
  }
}

function bytesOf({ type, dims }: RawConstant): number {
  return dims.reduce((product, size) => product * size, TYPES[type]?.[1] ?? Number.NaN);
}

/** Shapes and orders of columns of quantized linears, which the graph has beside its constants. */
function attributesOfLinears(
  { nodes, constants, lists }: RawGraph,
  check: CheckRecord,
): Map<string, readonly number[]> {
  const producers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const found = new Map<string, readonly number[]>();
  for (const { operator, inputs, integers } of nodes) {
    if (operator !== 'MatMulNBits' || inputs[1]?.endsWith(SECOND_NAME)) continue;
    const [x = '', codes = '', scales = '', zeroPoints = ''] = inputs;
    const [, module = '', width = ''] = /^(.*)\.weight_(\d)bit$/.exec(codes) ?? [];
    const [rows = 0, blocks = 0, bytes = 0] = constants.get(codes)?.dims ?? [];
    const said = ['bits', 'N', 'block_size'].map((name) => integers.get(name));
    const stored = [Number(width), rows, (bytes * 8) / Number(width)];
    check.expect(
      said.join() === stored.join() && blocks === Math.ceil((integers.get('K') ?? 0) / (stored[2] as number)),
      () =>
        `${module}: the operator says bits, rows and block size ${said.join(', ')}, its codes are ${stored.join(', ')}`,
    );
    const beside = [scales, ...(zeroPoints ? [zeroPoints] : [])];
    if (beside.some((name) => !name.startsWith(`${module}.`)))
      check.find(`${module}: multiplied with ${beside.join(', ')}`);
    const order = producers.get(x)?.operator === 'Gather' ? lists.get(producers.get(x)?.inputs[1] ?? '') : undefined;
    found.set(`${module}.shape`, [integers.get('N') ?? 0, integers.get('K') ?? 0]);
    if (order) found.set(`${module}.column_order`, order);
  }
  return found;
}

/** Tables that rows are picked of by GatherBlockQuantized: the shapes of their codes by block, and of what they stand for. */
function tablesInBlocks(
  { nodes, constants, lists }: RawGraph,
  check: CheckRecord,
): {
  readonly blocks: ReadonlyMap<string, readonly number[]>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
} {
  const blocks = new Map<string, readonly number[]>();
  const shapes = new Map<string, readonly number[]>();
  for (const { operator, inputs, outputs, integers } of nodes) {
    if (operator !== 'GatherBlockQuantized') continue;
    const [codes = '', , scales = ''] = inputs;
    const module = codes.replace(/\.weight_\dbit$/, '');
    const [rows = 0, rowBytes = 0] = constants.get(codes)?.dims ?? [];
    const [ofRows = 0, count = 0] = constants.get(scales)?.dims ?? [];
    const [bits = 0, size = 0] = ['bits', 'block_size'].map((name) => integers.get(name));
    const cut = nodes.find((node) => node.operator === 'Slice' && node.inputs[0] === outputs[0]);
    const columns = cut ? (lists.get(cut.inputs[2] ?? '')?.[0] ?? 0) : count * size;
    check.expect(
      ofRows === rows && rowBytes * 8 === count * size * bits && Math.ceil(columns / size) === count,
      () =>
        `${module}: ${rows} rows of ${rowBytes} bytes are not ${ofRows} rows of ${count} blocks of ${size} in ${bits} bits`,
    );
    blocks.set(codes, [rows, count, (size * bits) / 8]);
    shapes.set(`${module}.shape`, [rows, columns]);
    const again = constants.get(`${codes}${SECOND_NAME}`);
    const { location, offset, length } = constants.get(codes) ?? {};
    check.expect(
      !again || [again.location, again.offset, again.length].join() === [location, offset, length].join(),
      () => `${module}: the head multiplies with other bytes than those that rows are picked of`,
    );
  }
  return { blocks, shapes };
}

function integerBytes(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [at, value] of values.entries()) bytes.writeBigInt64LE(BigInt(value), 8 * at);
  return bytes;
}
