import type { Tensor } from '../../spec';
import { type InvalidFileCode, parseSafetensorsHeader } from './safetensors-header';

export interface SafetensorsContent {
  /** Views of the bytes that were given, in the order of the file. They need not be aligned to their elements. */
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads a whole file in memory; copies nothing.
 *
 * @param where the file's name, for messages.
 * @throws QuantloomError `code`, see parseSafetensorsHeader.
 */
export function parseSafetensors(
  bytes: Uint8Array,
  where = 'The data',
  code: InvalidFileCode = 'InvalidCheckpoint',
): SafetensorsContent {
  const header = parseSafetensorsHeader(bytes, bytes.byteLength, where, code);
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, offset, bytes: size }] of header.tensors) {
    tensors.set(name, { dtype, shape, data: new Uint8Array(bytes.buffer, bytes.byteOffset + offset, size) });
  }
  return { tensors, metadata: header.metadata };
}
