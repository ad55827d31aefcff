import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExternalBytes } from '../../graphs/graph-builder';
import type { OutputFile } from '../output-file';

/** Where a tensor may begin, so that it can be mapped into memory: a page; on Windows 64 KiB (onnx.proto, TensorProto.external_data). */
const PAGE_BYTES = 4096;
const LARGE_ALIGNMENT_BYTES = 65536;
const LARGE_TENSOR_BYTES = 2 ** 20;

/** Browsers hold a file in one array, and many runtimes count its bytes in 31 bits. */
const FILE_LIMIT_BYTES = 2 ** 31 - LARGE_ALIGNMENT_BYTES;

/** What a gap before a tensor is read as. */
const ZEROS = new Uint8Array(LARGE_ALIGNMENT_BYTES);

interface DataFile {
  readonly name: string;
  bytes: number;
  readonly hash: Hash;
}

export interface ExternalDataOptions {
  readonly directory: string;
  /** Name of the first file; the next ones have `_1`, `_2` after it. */
  readonly name: string;
  /** A tensor that would end behind it begins a new file. Default: just below 2 GiB. */
  readonly fileLimitBytes?: number;
}

/** Tensors one after the other in files beside the model: nothing is kept in memory. */
export class ExternalData {
  readonly #options: ExternalDataOptions;
  readonly #files: DataFile[] = [];
  #handle: FileHandle | null = null;

  constructor(options: ExternalDataOptions) {
    this.#options = options;
  }

  /** The files so far. Complete when `close` is done. */
  get files(): readonly OutputFile[] {
    return this.#files.map(({ name, bytes, hash }) => ({ name, bytes, sha256: hash.copy().digest('hex') }));
  }

  async append(data: Uint8Array): Promise<ExternalBytes> {
    const limit = this.#options.fileLimitBytes ?? FILE_LIMIT_BYTES;
    const alignment = data.byteLength < LARGE_TENSOR_BYTES ? PAGE_BYTES : LARGE_ALIGNMENT_BYTES;
    let file = this.#files.at(-1);
    const aligned = Math.ceil((file?.bytes ?? 0) / alignment) * alignment;
    if (!file || !this.#handle || (file.bytes > 0 && aligned + data.byteLength > limit)) file = await this.#next();
    const offset = Math.ceil(file.bytes / alignment) * alignment;
    file.hash.update(ZEROS.subarray(0, offset - file.bytes)).update(data);
    let written = 0;
    while (written < data.byteLength) {
      const { bytesWritten } = await (this.#handle as FileHandle).write(
        data,
        written,
        data.byteLength - written,
        offset + written,
      );
      written += bytesWritten;
    }
    file.bytes = offset + data.byteLength;
    return { file: file.name, offset, length: data.byteLength };
  }

  /** Closes the last file; call it whatever happened. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    if (!handle) return;
    await handle.sync().finally(() => handle.close());
  }

  async #next(): Promise<DataFile> {
    await this.close();
    const { directory, name } = this.#options;
    const place = this.#files.length;
    const file: DataFile = { name: place === 0 ? name : `${name}_${place}`, bytes: 0, hash: createHash('sha256') };
    this.#handle = await open(join(directory, file.name), 'w');
    this.#files.push(file);
    return file;
  }
}
