import { elementCount, QuantloomError } from '../../../spec';
import type { BlockTypeName } from '../blocks/block-type';
import { BLOCK_TYPES, blockBytesOf } from '../blocks/block-types';
import type { GgufMetadata } from './gguf-value';
import { HeaderWriter } from './header-writer';
import {
  ALIGNMENT_KEY,
  DEFAULT_ALIGNMENT,
  MAGIC,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_TENSOR_NAME_BYTES,
  padded,
  VERSION,
} from './limits';

/** What a tensor of a GGUF file is, before its bytes. */
export interface GgufTensor {
  readonly name: string;
  /** `[rows, columns]` as in safetensors; the file has it in reverse. */
  readonly shape: readonly number[];
  readonly type: BlockTypeName;
}

export interface PlacedTensor extends GgufTensor {
  /** From the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufLayout {
  /** Everything before the first tensor, padding included. */
  readonly header: Uint8Array;
  /** In the order of the file. */
  readonly tensors: readonly PlacedTensor[];
  readonly alignment: number;
  /** Of the whole file, which ends with the padding of its last tensor. */
  readonly fileBytes: number;
}

/**
 * Lays a GGUF file out, version 3, little-endian (ggml, docs/gguf.md): header, metadata, tensor infos, then the tensors in this
 * order, each padded to the alignment (`general.alignment`, default 32).
 *
 * @throws QuantloomError UnsupportedInput naming the key or tensor that the format has no room for.
 */
export function layoutGguf(metadata: GgufMetadata, tensors: readonly GgufTensor[]): GgufLayout {
  const alignment = alignmentOf(metadata);
  const header = new HeaderWriter();
  header.uint32(MAGIC);
  header.uint32(VERSION);
  header.uint64(tensors.length);
  header.uint64(metadata.size);
  for (const [key, value] of metadata) {
    const bytes = Buffer.byteLength(key);
    if (bytes === 0 || bytes > MAX_KEY_BYTES)
      throw refused(`A metadata key of ${bytes} bytes`, `1 to ${MAX_KEY_BYTES}`);
    header.string(key);
    header.value(key, value);
  }
  const names = new Set<string>();
  let end = 0;
  const placed = tensors.map((tensor) => {
    checkTensor(tensor, names);
    const { name, shape, type } = tensor;
    const columns = shape[shape.length - 1] as number;
    const bytes = blockBytesOf(BLOCK_TYPES[type], elementCount(shape) / columns, columns);
    const offset = end;
    end = padded(end + bytes, alignment);
    header.string(name);
    header.uint32(shape.length);
    for (const size of shape.toReversed()) header.uint64(size);
    header.uint32(BLOCK_TYPES[type].id);
    header.uint64(offset);
    return { name, shape, type, offset, bytes };
  });
  header.pad(alignment);
  const bytes = header.bytes();
  return {
    header: bytes,
    tensors: placed.map((tensor) => ({ ...tensor, offset: tensor.offset + bytes.length })),
    alignment,
    fileBytes: bytes.length + end,
  };
}

function alignmentOf(metadata: GgufMetadata): number {
  const value = metadata.get(ALIGNMENT_KEY);
  if (value === undefined) return DEFAULT_ALIGNMENT;
  if (value.type === 'uint32' && value.value > 0 && Number.isInteger(Math.log2(value.value))) return value.value;
  throw refused(`${ALIGNMENT_KEY} ${String(value.value)} of type ${value.type}`, 'a power of two as uint32');
}

function checkTensor({ name, shape }: GgufTensor, names: Set<string>): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_TENSOR_NAME_BYTES) {
    throw refused(`The tensor name ${JSON.stringify(name)} of ${bytes} bytes`, `1 to ${MAX_TENSOR_NAME_BYTES} bytes`);
  }
  if (names.has(name)) throw refused(`A second tensor named ${JSON.stringify(name)}`, 'one of each name');
  names.add(name);
  const sizes = shape.every((size) => Number.isSafeInteger(size) && size > 0);
  if (shape.length === 0 || shape.length > MAX_DIMENSIONS || !sizes) {
    throw refused(`Tensor ${name} of shape [${shape.join(', ')}]`, `1 to ${MAX_DIMENSIONS} positive sizes`);
  }
}

function refused(what: string, allowed: string): QuantloomError {
  return new QuantloomError('UnsupportedInput', `${what} cannot be written to a GGUF file; it takes ${allowed}.`);
}
