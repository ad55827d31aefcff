/** Lets one in at a time, in the order of arrival. */
export class Turnstile {
  #last: Promise<void> = Promise.resolve();

  /** Waits for its turn. @returns how to leave; leaving twice does no harm. @throws the signal's reason when aborted meanwhile. */
  async enter(signal?: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let leave!: () => void;
    this.#last = new Promise((resolve) => {
      leave = resolve;
    });
    await before;
    if (signal?.aborted) leave();
    signal?.throwIfAborted();
    return leave;
  }
}
