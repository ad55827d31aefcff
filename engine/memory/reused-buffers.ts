import { leaveGarbage } from './garbage';

/**
 * Buffers that are used again: a fresh one costs a page fault every 4 KiB, which is more than reading it from a cached file, and
 * counts as memory that may be garbage, so that soon all is collected.
 */
export class ReusedBuffers<Memory extends ArrayBuffer | SharedArrayBuffer> {
  readonly #free = new Map<number, Memory[]>();
  #freeBytes = 0;
  #usedBytes = 0;
  /** That those in use and those that wait may have together. */
  #limit: number;

  /** @param keptBytes of buffers that may wait to be used again, where no more than that were ever in use at once. */
  constructor(
    private readonly create: (bytes: number) => Memory,
    keptBytes: number,
  ) {
    this.#limit = keptBytes;
  }

  /** So many bytes, with whatever was in them. */
  take(bytes: number): Memory {
    const known = this.#free.get(bytes)?.pop();
    if (known) this.#freeBytes -= bytes;
    else this.#makeRoom(bytes);
    this.#usedBytes += bytes;
    this.#limit = Math.max(this.#limit, this.#usedBytes);
    return known ?? this.create(bytes);
  }

  /** Nobody reads or writes it any more. */
  give(buffer: Memory): void {
    const bytes = buffer.byteLength;
    this.#usedBytes -= bytes;
    this.#makeRoom(bytes);
    this.#freeBytes += bytes;
    const others = this.#free.get(bytes);
    if (others) others.push(buffer);
    else this.#free.set(bytes, [buffer]);
  }

  /** What is of another length now, of another stage say, is not coming back soon. */
  #makeRoom(bytes: number): void {
    for (const [length, buffers] of this.#free) {
      if (this.#usedBytes + this.#freeBytes + bytes <= this.#limit) return;
      if (length === bytes) continue;
      this.#free.delete(length);
      this.#freeBytes -= length * buffers.length;
      leaveGarbage(length * buffers.length);
    }
  }
}
