import type { ReusedBuffers } from './reused-buffers';

/** So many bytes, with whatever was in them. */
export type TakeMemory<Memory extends ArrayBuffer | SharedArrayBuffer = ArrayBuffer | SharedArrayBuffer> = (
  bytes: number,
) => Memory;

/** Memory that is left to the garbage collector. */
export const ownMemory: TakeMemory = (bytes) => new ArrayBuffer(bytes);

/** So many zeros. */
export function zeroSums(length: number, take: TakeMemory): Float64Array {
  return new Float64Array(take(length * Float64Array.BYTES_PER_ELEMENT)).fill(0);
}

/** Buffers that go back together. */
export class Loan<Memory extends ArrayBuffer | SharedArrayBuffer> {
  #taken: Memory[] = [];

  constructor(private readonly buffers: ReusedBuffers<Memory>) {}

  readonly take: TakeMemory<Memory> = (bytes) => {
    const buffer = this.buffers.take(bytes);
    this.#taken.push(buffer);
    return buffer;
  };

  /** Nobody reads or writes any of it any more. */
  giveBack(): void {
    for (const buffer of this.#taken) this.buffers.give(buffer);
    this.#taken = [];
  }
}
