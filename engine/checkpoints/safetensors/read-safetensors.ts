import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { QuantloomError, type SourceTensor, type Tensor } from '../../spec';
import {
  type InvalidFileCode,
  LENGTH_BYTES,
  parseHeaderLength,
  parseSafetensorsHeader,
  type SafetensorsHeader,
} from './safetensors-header';

/** libuv reads at most 2^31 - 1 bytes at once. */
const READ_BYTES = 2 ** 30;

/**
 * Reads the header of a file and nothing else.
 *
 * @throws QuantloomError `code` when it is no valid safetensors file or cannot be opened.
 */
export async function readSafetensorsHeader(
  path: string,
  code: InvalidFileCode = 'InvalidModel',
): Promise<SafetensorsHeader & { readonly fileBytes: number }> {
  const handle = await openFile(path, code);
  try {
    const { size: fileBytes } = await handle.stat();
    const length = parseHeaderLength(await readRange(handle, 0, LENGTH_BYTES), fileBytes, path, code);
    const bytes = await readRange(handle, 0, LENGTH_BYTES + length);
    return { ...parseSafetensorsHeader(bytes, fileBytes, path, code), fileBytes };
  } finally {
    await handle.close();
  }
}

/**
 * Reads the bytes of one tensor of a model.
 *
 * @param directory of the model.
 * @throws QuantloomError SourceChanged when the file is gone or too short by now.
 */
export async function readTensor(directory: string, tensor: SourceTensor): Promise<Tensor> {
  const path = join(directory, tensor.file);
  const handle = await openFile(path, 'SourceChanged');
  try {
    const data = await readRange(handle, tensor.offset, tensor.bytes);
    if (data.byteLength < tensor.bytes) {
      throw new QuantloomError(
        'SourceChanged',
        `${path} ended after ${data.byteLength} of the ${tensor.bytes} bytes of tensor ${tensor.name}: it changed after it was inspected. Start the job again.`,
      );
    }
    return { dtype: tensor.dtype, shape: tensor.shape, data };
  } finally {
    await handle.close();
  }
}

/** Trying again does not help against these; it may against a full table of handles or a hiccup of a network disk. */
const LASTING = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP', 'ENAMETOOLONG']);

async function openFile(path: string, code: InvalidFileCode | 'SourceChanged'): Promise<FileHandle> {
  try {
    // Opening a named pipe would wait for its writer.
    if ((await stat(path)).isFile()) return await open(path, 'r');
  } catch (cause) {
    const { code: reason, message } = cause as NodeJS.ErrnoException;
    throw new QuantloomError(code, `${path} cannot be opened (${message}).`, {
      cause,
      retryable: !LASTING.has(reason ?? ''),
    });
  }
  throw new QuantloomError(code, `${path} is not a file.`);
}

/** Bytes of the range that the file has; fewer at its end. */
async function readRange(handle: FileHandle, offset: number, bytes: number): Promise<Uint8Array> {
  // Not zeroed, and not from Buffer's pool: what is returned is exactly what was read into it.
  const memory = new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
  let filled = 0;
  while (filled < bytes) {
    const { bytesRead } = await handle.read(memory, filled, Math.min(READ_BYTES, bytes - filled), offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return memory.subarray(0, filled);
}
