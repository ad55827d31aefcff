import { Loan, ReusedBuffers, type TakeMemory as Take } from '../engine/memory';

/** Bytes of buffers that wait for the next step: those of all stages of a small model. */
const KEPT_BYTES = 128 << 20;

/** Shared with the threads that compute: handed over instead, each would be counted as new memory there, and soon all collected. */
const buffers = new ReusedBuffers((bytes) => new SharedArrayBuffer(bytes), KEPT_BYTES);

/** So many bytes, with whatever was in them. */
export type TakeMemory = Take<SharedArrayBuffer>;

/**
 * Memory for one piece of work, which goes back when it is over: weights and Hessians in fresh arrays would have all garbage collected
 * several times per layer, and every page zeroed.
 *
 * @param work must not leave anything behind that reads or writes what it took.
 */
export async function borrowMemory<T>(work: (take: TakeMemory) => Promise<T>): Promise<T> {
  const loan = new Loan(buffers);
  try {
    return await work(loan.take);
  } finally {
    loan.giveBack();
  }
}
