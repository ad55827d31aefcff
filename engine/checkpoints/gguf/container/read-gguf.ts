import { type FileHandle, open } from 'node:fs/promises';
import { QuantloomError } from '../../../spec';
import { HeaderCut, HeaderFault } from './header-reader';
import type { PlacedTensor } from './layout-gguf';
import { MAX_HEADER_BYTES } from './limits';
import { type GgufHeader, parseGgufHeader } from './parse-gguf-header';

const FIRST_BYTES = 1 << 20;

/**
 * The metadata and tensor infos of a GGUF file, checked against its size. Reads the header only.
 *
 * @throws QuantloomError InvalidModel naming the file, what is wrong in it, the value and the limit.
 */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  return withFile(path, async (file) => {
    const { size } = await file.stat();
    let wanted = FIRST_BYTES;
    for (;;) {
      const bytes = await readRange(file, 0, Math.min(wanted, size));
      try {
        return parseGgufHeader(bytes, size);
      } catch (error) {
        if (!(error instanceof HeaderCut)) throw error;
        if (error.needed > MAX_HEADER_BYTES) {
          throw new HeaderFault(
            `its header takes ${error.needed} bytes or more, over the limit of ${MAX_HEADER_BYTES}`,
          );
        }
        wanted = Math.min(MAX_HEADER_BYTES, Math.max(4 * wanted, error.needed));
      }
    }
  });
}

/**
 * The blocks of a tensor.
 *
 * @throws QuantloomError InvalidModel when the file has become shorter.
 */
export async function readGgufTensor(path: string, tensor: PlacedTensor): Promise<Uint8Array> {
  return withFile(path, (file) => readRange(file, tensor.offset, tensor.bytes));
}

async function readRange(file: FileHandle, start: number, bytes: number): Promise<Uint8Array> {
  const memory = new Uint8Array(bytes);
  let at = 0;
  while (at < bytes) {
    const { bytesRead } = await file.read(memory, at, bytes - at, start + at);
    if (bytesRead === 0) throw new HeaderFault(`the file ends at byte ${start + at}, before byte ${start + bytes}`);
    at += bytesRead;
  }
  return memory;
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return await use(file);
  } catch (cause) {
    if (cause instanceof HeaderFault) {
      throw new QuantloomError('InvalidModel', `${path} is not a valid GGUF file: ${cause.message}.`, { cause });
    }
    throw new QuantloomError('InvalidModel', `${path} cannot be read: ${(cause as Error).message}.`, { cause });
  } finally {
    await file?.close();
  }
}
