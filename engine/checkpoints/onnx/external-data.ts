import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExternalBytes } from '../../graphs/graph-builder';

/** Where a tensor may begin, so that it can be mapped into memory: a page; on Windows 64 KiB (onnx.proto, TensorProto.external_data). */
const PAGE_BYTES = 4096;
const LARGE_ALIGNMENT_BYTES = 65536;
const LARGE_TENSOR_BYTES = 2 ** 20;

/** Browsers hold a file in one array, and many runtimes count its bytes in 31 bits. */
const FILE_LIMIT_BYTES = 2 ** 31 - LARGE_ALIGNMENT_BYTES;

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
  readonly #files: { readonly name: string; bytes: number }[] = [];
  #handle: FileHandle | null = null;

  constructor(options: ExternalDataOptions) {
    this.#options = options;
  }

  /** Names and sizes of the files so far. */
  get files(): readonly { readonly name: string; readonly bytes: number }[] {
    return this.#files;
  }

  async append(data: Uint8Array): Promise<ExternalBytes> {
    const limit = this.#options.fileLimitBytes ?? FILE_LIMIT_BYTES;
    const alignment = data.byteLength < LARGE_TENSOR_BYTES ? PAGE_BYTES : LARGE_ALIGNMENT_BYTES;
    let file = this.#files.at(-1);
    const aligned = Math.ceil((file?.bytes ?? 0) / alignment) * alignment;
    if (!file || !this.#handle || (file.bytes > 0 && aligned + data.byteLength > limit)) file = await this.#next();
    const offset = Math.ceil(file.bytes / alignment) * alignment;
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

  async #next(): Promise<{ readonly name: string; bytes: number }> {
    await this.close();
    const { directory, name } = this.#options;
    const file = { name: this.#files.length === 0 ? name : `${name}_${this.#files.length}`, bytes: 0 };
    this.#handle = await open(join(directory, file.name), 'w');
    this.#files.push(file);
    return file;
  }
}
