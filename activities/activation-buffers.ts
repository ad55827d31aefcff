/** Bytes of buffers that are kept for later, where nothing else is said. */
const KEPT_BYTES = 256 << 20;

/**
 * Buffers that are used again: a fresh one costs a page fault every 4 KiB, which is more than reading it from a cached file. They are
 * shared with the threads that compute; handed over instead, each would be counted as new memory there, and soon all are collected.
 */
export class ActivationBuffers {
  readonly #free = new Map<number, SharedArrayBuffer[]>();
  #bytes = 0;

  constructor(private readonly keptBytes = KEPT_BYTES) {}

  /** So many bytes, with whatever was in them. */
  take(bytes: number): SharedArrayBuffer {
    const buffer = this.#free.get(bytes)?.pop();
    if (buffer) this.#bytes -= bytes;
    return buffer ?? new SharedArrayBuffer(bytes);
  }

  /** Nobody reads or writes it any more. */
  give(buffer: SharedArrayBuffer): void {
    // What is of another length now, of another stage say, is not coming back soon.
    for (const [bytes, buffers] of this.#free) {
      if (this.#bytes + buffer.byteLength <= this.keptBytes) break;
      if (bytes === buffer.byteLength) continue;
      this.#bytes -= bytes * buffers.length;
      this.#free.delete(bytes);
    }
    if (this.#bytes + buffer.byteLength > this.keptBytes) return;
    this.#bytes += buffer.byteLength;
    const others = this.#free.get(buffer.byteLength);
    if (others) others.push(buffer);
    else this.#free.set(buffer.byteLength, [buffer]);
  }
}
