import { ActivationBuffers } from './activation-buffers';

/** Bytes of buffers that wait for the next step: the Hessian of the largest stage of a small model, in both precisions. */
const KEPT_BYTES = 32 << 20;

const buffers = new ActivationBuffers(KEPT_BYTES);

/** So many bytes, with whatever was in them. */
export type TakeMemory = (bytes: number) => SharedArrayBuffer;

/**
 * Memory for one piece of work, which goes back when it is over: weights and Hessians in fresh arrays would have all garbage collected
 * several times per layer, and every page zeroed.
 *
 * @param work must not leave anything behind that reads or writes what it took.
 */
export async function borrowMemory<T>(work: (take: TakeMemory) => Promise<T>): Promise<T> {
  const taken: SharedArrayBuffer[] = [];
  try {
    return await work((bytes) => {
      const buffer = buffers.take(bytes);
      taken.push(buffer);
      return buffer;
    });
  } finally {
    for (const buffer of taken) buffers.give(buffer);
  }
}
