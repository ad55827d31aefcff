import type { FileHandle } from 'node:fs/promises';

/** Bytes that are worth a flush of their own; what is smaller waits for the end of the file. */
const FLUSHED_BYTES = 16 << 20;

/** One in the process: another file's would take a thread that writes. */
let busy = false;

/** Lets the disk begin while a file is still being written: flushes what is there, in the background, again and again. */
export class EarlyFlush {
  #waitingBytes = 0;
  #flushing: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(private readonly handle: FileHandle) {}

  /** So many bytes more have been written. Never waits. @throws the system's error, of a flush that failed before. */
  written(bytes: number): void {
    this.#requireSound();
    this.#waitingBytes += bytes;
    if (busy || this.#waitingBytes < FLUSHED_BYTES) return;
    this.#waitingBytes = 0;
    busy = true;
    this.#flushing = this.#flush();
  }

  /** Waits for the flush under way. @throws the system's error: the system tells of lost bytes once only, so that a later flush may succeed. */
  async settled(): Promise<void> {
    await this.#flushing;
    this.#requireSound();
  }

  async #flush(): Promise<void> {
    try {
      await this.handle.datasync();
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      busy = false;
    }
  }

  #requireSound(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
