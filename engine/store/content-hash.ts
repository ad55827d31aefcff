import { createHash, type Hash } from 'node:crypto';
import { type NativeHash, selectKernels } from '../kernels';

/** SHA-256 of pieces, one after the other: beside the event loop where native kernels are, on it elsewhere. */
export class ContentHash {
  readonly #hash: NativeHash | (Pick<Hash, 'update'> & { digest(encoding: 'hex'): string });

  constructor() {
    const { native } = selectKernels();
    this.#hash = native ? new native.Sha256() : createHash('sha256');
  }

  /** The piece must stay as it is, and the next one wait, until this has settled. */
  async update(piece: Uint8Array): Promise<void> {
    await this.#hash.update(piece);
  }

  /** Lower-case hexadecimal. Once only. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

/** Waits until both have settled, whatever becomes of them. @throws what `work` threw, or else what `other` did. */
export async function both<T>(work: Promise<T>, other: Promise<unknown>): Promise<T> {
  const [result, beside] = await Promise.allSettled([work, other]);
  if (result.status === 'rejected') throw result.reason;
  if (beside.status === 'rejected') throw beside.reason;
  return result.value;
}
