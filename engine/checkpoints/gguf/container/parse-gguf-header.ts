import { quoted } from '../../safetensors/header-scanner';
import { blockTypeOfId } from '../blocks/block-types';
import { foreignTypeName } from '../blocks/foreign-types';
import type { GgufMetadata, GgufValue } from './gguf-value';
import { HeaderFault, HeaderReader } from './header-reader';
import type { PlacedTensor } from './layout-gguf';
import {
  ALIGNMENT_KEY,
  DEFAULT_ALIGNMENT,
  MAGIC,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_KEYS,
  MAX_TENSOR_NAME_BYTES,
  MAX_TENSORS,
  padded,
} from './limits';

export interface GgufHeader {
  readonly metadata: GgufMetadata;
  /** By name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, PlacedTensor>;
  /** Bytes before the first tensor. */
  readonly headerBytes: number;
}

/**
 * Reads and checks the header of a GGUF file of version 2 or 3, little-endian. A tensor that is not within the file, or lies over
 * another, is refused.
 *
 * @param bytes the start of the file, to the end of the tensor infos.
 * @throws HeaderFault saying what is wrong; HeaderCut when the header goes on behind `bytes`.
 */
export function parseGgufHeader(bytes: Uint8Array, fileBytes: number): GgufHeader {
  const reader = new HeaderReader(bytes, fileBytes);
  checkStart(reader);
  const tensorCount = reader.count('the number of tensors', MAX_TENSORS);
  const keyCount = reader.count('the number of metadata keys', MAX_KEYS);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = reader.string(`metadata key ${i}`, MAX_KEY_BYTES);
    if (metadata.has(key)) throw new HeaderFault(`the metadata key ${quoted(key)} stands twice`);
    metadata.set(key, reader.value(`the metadata key ${quoted(key)}`));
  }
  const alignment = alignmentOf(metadata);
  const tensors = new Map<string, PlacedTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensorInfo(reader, i, alignment);
    if (tensors.has(tensor.name)) throw new HeaderFault(`the tensor ${quoted(tensor.name)} stands twice`);
    tensors.set(tensor.name, tensor);
  }
  const headerBytes = padded(reader.at, alignment);
  for (const [name, tensor] of tensors) tensors.set(name, { ...tensor, offset: tensor.offset + headerBytes });
  checkPlaces([...tensors.values()], fileBytes);
  return { metadata, tensors, headerBytes };
}

function checkStart(reader: HeaderReader): void {
  if (reader.uint32('the magic number') !== MAGIC) throw new HeaderFault('it does not begin with "GGUF"');
  const version = reader.uint32('the version');
  if (version === 2 || version === 3) return;
  if (version > 0 && (version & 0xffff) === 0) {
    throw new HeaderFault('it is big-endian; convert it with gguf_convert_endian of the gguf package');
  }
  throw new HeaderFault(`it has version ${version}; versions 2 and 3 can be read`);
}

function alignmentOf(metadata: GgufMetadata): number {
  const value = metadata.get(ALIGNMENT_KEY);
  if (value === undefined) return DEFAULT_ALIGNMENT;
  if (value.type === 'uint32' && value.value > 0 && Number.isInteger(Math.log2(value.value))) return value.value;
  throw new HeaderFault(`${ALIGNMENT_KEY} is not a power of two of type uint32`);
}

/** Offsets as in the file: from the end of the header. */
function readTensorInfo(reader: HeaderReader, index: number, alignment: number): PlacedTensor {
  const name = reader.string(`the name of tensor ${index}`, MAX_TENSOR_NAME_BYTES);
  const what = `tensor ${quoted(name)}`;
  const dimensions = reader.uint32(`the number of dimensions of ${what}`);
  if (dimensions === 0 || dimensions > MAX_DIMENSIONS) {
    throw new HeaderFault(`${what} has ${dimensions} dimensions; 1 to ${MAX_DIMENSIONS} are allowed`);
  }
  const shape: number[] = [];
  let elements = 1;
  for (let axis = 0; axis < dimensions; axis++) {
    const size = reader.count(`dimension ${axis} of ${what}`, Number.MAX_SAFE_INTEGER);
    elements *= size;
    if (size === 0 || elements > Number.MAX_SAFE_INTEGER) throw new HeaderFault(`${what} has a dimension of ${size}`);
    shape.unshift(size);
  }
  const id = reader.uint32(`the type of ${what}`);
  const type = blockTypeOfId(id);
  if (type === null) throw new HeaderFault(`${what} has ${foreignTypeName(id)}, which cannot be read`);
  const columns = shape[shape.length - 1] as number;
  if (columns % type.blockSize !== 0) {
    throw new HeaderFault(
      `${what} has rows of ${columns} weights, not a multiple of the ${type.blockSize} of ${type.name}`,
    );
  }
  const offset = reader.count(`the offset of ${what}`, Number.MAX_SAFE_INTEGER);
  if (offset % alignment !== 0) {
    throw new HeaderFault(`${what} is at offset ${offset}, not a multiple of the alignment of ${alignment}`);
  }
  return { name, shape, type: type.name, offset, bytes: (elements / type.blockSize) * type.blockBytes };
}

function checkPlaces(tensors: PlacedTensor[], fileBytes: number): void {
  tensors.sort((a, b) => a.offset - b.offset);
  let end = 0;
  let before = '';
  for (const { name, offset, bytes } of tensors) {
    if (offset < end) throw new HeaderFault(`tensor ${quoted(name)} lies over tensor ${quoted(before)}`);
    end = offset + bytes;
    before = name;
    if (end > fileBytes) {
      throw new HeaderFault(
        `the file is truncated: tensor ${quoted(name)} ends at byte ${end}, but the file has ${fileBytes}`,
      );
    }
  }
}
