/** `GGUF`. */
export const MAGIC = 0x46554747;
export const VERSION = 3;
export const DEFAULT_ALIGNMENT = 32;
export const ALIGNMENT_KEY = 'general.alignment';

/** llama.cpp keeps names in 64 bytes, a zero at the end. */
export const MAX_TENSOR_NAME_BYTES = 63;
export const MAX_DIMENSIONS = 4;
/** Of the format. */
export const MAX_KEY_BYTES = 65535;

/** Far beyond real files (the largest vocabularies make headers of 15 MB), small enough to be refused at once when hostile. */
export const MAX_HEADER_BYTES = 128 * 1024 * 1024;
export const MAX_KEYS = 65536;
export const MAX_TENSORS = 262144;
/** Strings in all arrays together: tokens and merges are half a million in real files. */
export const MAX_STRINGS = 2_000_000;

export function padded(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}
