import { type ByteSource, openBytes } from '../verification/byte-source';
import { CheckRecord } from '../verification/check';
import type { StoredTensor } from '../verification/stored-tensors';
import type { InspectedModel } from '../weight-container';
import { ggufFileAt } from './gguf-file-at';
import { ggufArchitectureNamed } from './models/gguf-architectures';
import { sourceTensorName } from './models/tensor-names';
import { type RawGgufHeader, type RawGgufTensor, readRawGgufHeader } from './raw-gguf-header';

/** Weights and bytes of a block, by number of the type in ggml (ggml-common.h). */
const BLOCKS: Readonly<Record<number, readonly [weights: number, bytes: number]>> = {
  ...{ 0: [1, 4], 1: [1, 2], 30: [1, 2] },
  ...{ 2: [32, 18], 3: [32, 20], 6: [32, 22], 7: [32, 24], 8: [32, 34] },
  ...{ 10: [256, 84], 11: [256, 110], 12: [256, 144], 13: [256, 176], 14: [256, 210] },
  ...{ 20: [32, 18], 23: [256, 136], 34: [256, 54], 35: [256, 66], 39: [32, 17] },
};
const PLAIN: Readonly<Record<number, string>> = { 0: 'F32', 1: 'F16', 30: 'BF16' };
const MOST_MATRICES = 262144;

interface Place extends StoredTensor {
  readonly begin: number;
  readonly end: number;
  /** Heads whose rows are in GGUF's order; 0: rows are as in the source. */
  readonly heads: number;
}

/** A GGUF file for verification, under the names of the source and with its order of rows: read without the code that wrote it. */
export async function inspectGguf(path: string): Promise<InspectedModel> {
  const check = new CheckRecord('header and tensors agree', 'tensor');
  const { file } = await ggufFileAt(path);
  const source = await openBytes(file);
  const tensors = new Map<string, Place>();
  try {
    const header = await readRawGgufHeader(source);
    checkPlaces(header, source, check);
    for (const [name, tensor] of header.tensors) {
      const matrices = tensor.sizes[2] ?? 1;
      if (tensors.size + matrices > MOST_MATRICES) {
        throw new Error(`${name} and what is before it are more than ${MOST_MATRICES} matrices`);
      }
      const found = matricesOf(tensor).map((matrix, expert) => ({
        matrix,
        named: nameOf(name, expert, tensor, header),
      }));
      for (const { matrix, named } of found) if (named) tensors.set(named.name, placeOf(matrix, named));
      if (!found[0]?.named) check.note(`${name} is no tensor of the source.`);
    }
  } catch (error) {
    check.find((error as Error).message);
  }
  return {
    check,
    stored: {
      tensors,
      async read(name) {
        const place = tensors.get(name);
        if (!place) throw new Error(`${name} is missing`);
        const bytes = await source.read(place.begin, place.end);
        return place.heads === 0 ? bytes : inSourceOrder(bytes, place.shape[0] as number, place.heads);
      },
      close: () => source.close(),
    },
  };
}

/** Every tensor begins where the one before it ends, padded, and the last one ends with the file. */
function checkPlaces({ tensors, alignment, dataBegin }: RawGgufHeader, source: ByteSource, check: CheckRecord): void {
  let at = dataBegin;
  for (const [name, tensor] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin)) {
    check.expect(
      tensor.begin === at,
      () => `${name} begins at byte ${tensor.begin}, the tensor before it ends at ${at}`,
    );
    at = Math.ceil((tensor.begin + bytesOf(tensor)) / alignment) * alignment;
  }
  if (at !== source.size) check.find(`the tensors end at byte ${at}, the file at ${source.size}`);
}

function bytesOf({ type, sizes: [columns = 1, ...others] }: RawGgufTensor): number {
  const block = BLOCKS[type];
  if (!block || columns % block[0] !== 0) throw new Error(`rows of ${columns} weights cannot be of type ${type}`);
  return (columns / block[0]) * block[1] * others.reduce((product, size) => product * size, 1);
}

/** The experts of a layer are one tensor of three dimensions, matrix after matrix: each of them. */
function matricesOf(tensor: RawGgufTensor): RawGgufTensor[] {
  const [columns = 1, rows = 1, experts] = tensor.sizes;
  if (experts === undefined) return [tensor];
  const bytes = bytesOf({ ...tensor, sizes: [columns, rows] });
  return Array.from({ length: experts }, (_, expert) => ({
    ...tensor,
    sizes: [columns, rows],
    begin: tensor.begin + expert * bytes,
  }));
}

function placeOf(tensor: RawGgufTensor, { heads, isRow, isTransposed }: Named): Place {
  const { type, sizes, begin } = tensor;
  const bytes = bytesOf(tensor);
  const dtype = PLAIN[type];
  const rows = sizes[1] ?? 1;
  return {
    dtype: dtype ?? 'U8',
    shape: dtype ? (isRow ? [1, ...sizes] : isTransposed ? sizes : sizes.toReversed()) : [rows, bytes / rows],
    begin,
    end: begin + bytes,
    heads,
  };
}

interface Named {
  readonly name: string;
  readonly heads: number;
  /** A vector that the source has as a matrix of one row. */
  readonly isRow: boolean;
  /** The source has `[columns, rows]`. */
  readonly isTransposed: boolean;
}

/** The heads are those of the header, which llama.cpp goes by. */
function nameOf(name: string, expert: number, { type, sizes }: RawGgufTensor, { values }: RawGgufHeader): Named | null {
  const prefix = String(values.get('general.architecture'));
  const found = sourceTensorName(ggufArchitectureNamed(prefix), name, expert);
  if (found === null) return null;
  const permuted = prefix === 'llama' ? /\.attn_([qk])\./.exec(name)?.[1] : undefined;
  const key = permuted === 'q' ? 'head_count' : 'head_count_kv';
  return {
    name: type in PLAIN ? found : found.replace(/weight$/, 'blocks'),
    heads: permuted ? Number(values.get(`${prefix}.attention.${key}`)) : 0,
    isRow: sizes.length === 1 && name.includes('.ffn_gate_inp'),
    isTransposed: prefix === 'gpt2' && /^blk\.\d+\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$/.test(name),
  };
}

/**
 * `llama` has the two halves of a head interleaved: its rows 2i and 2i + 1 are i and i + d / 2 of the source, d the rows of a head.
 */
function inSourceOrder(bytes: Buffer, rows: number, heads: number): Buffer {
  const ordered = Buffer.allocUnsafe(bytes.length);
  const rowBytes = bytes.length / rows;
  const size = rows / heads;
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < size / 2; pair++) {
      for (const half of [0, 1]) {
        const from = (head * size + 2 * pair + half) * rowBytes;
        bytes.copy(ordered, (head * size + half * (size / 2) + pair) * rowBytes, from, from + rowBytes);
      }
    }
  }
  return ordered;
}
