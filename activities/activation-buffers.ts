/** Bytes of buffers that are kept for later. */
const KEPT_BYTES = 256 << 20;

/**
 * Buffers that are used again. A fresh one costs a page fault every 4 KiB, which is more than reading it from a cached file.
 */
export class ActivationBuffers {
  readonly #free = new Map<number, ArrayBuffer[]>();
  #bytes = 0;

  /** So many bytes, with whatever was in them. */
  take(bytes: number): ArrayBuffer {
    const buffer = this.#free.get(bytes)?.pop();
    if (buffer) this.#bytes -= bytes;
    return buffer ?? new ArrayBuffer(bytes);
  }

  /** Nobody reads or writes it any more. */
  give(buffer: ArrayBufferLike): void {
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength === 0) return;
    // What is of another length now, of another stage say, is not coming back soon.
    for (const [bytes, buffers] of this.#free) {
      if (this.#bytes + buffer.byteLength <= KEPT_BYTES) break;
      if (bytes === buffer.byteLength) continue;
      this.#bytes -= bytes * buffers.length;
      this.#free.delete(bytes);
    }
    if (this.#bytes + buffer.byteLength > KEPT_BYTES) return;
    this.#bytes += buffer.byteLength;
    const others = this.#free.get(buffer.byteLength);
    if (others) others.push(buffer);
    else this.#free.set(buffer.byteLength, [buffer]);
  }
}
