/** Lets so many in at a time, in the order of arrival. */
export class Turnstile {
  #free: number;
  readonly #waiting: { readonly places: number; readonly enter: () => void }[] = [];

  constructor(readonly places = 1) {
    this.#free = places;
  }

  /** Places that are taken. */
  get taken(): number {
    return this.places - this.#free;
  }

  /**
   * Waits for its turn, and for so many places (at most all).
   *
   * @returns how to leave; leaving twice does no harm. @throws the signal's reason when aborted meanwhile.
   */
  async enter({ places: wanted = 1, signal }: { places?: number; signal?: AbortSignal } = {}): Promise<() => void> {
    const places = Math.min(wanted, this.places);
    await new Promise<void>((resolve) => {
      this.#waiting.push({ places, enter: resolve });
      this.#letIn();
    });
    let inside = true;
    const leave = () => {
      if (inside) this.#free += places;
      inside = false;
      this.#letIn();
    };
    if (signal?.aborted) leave();
    signal?.throwIfAborted();
    return leave;
  }

  #letIn(): void {
    for (let next = this.#waiting[0]; next && next.places <= this.#free; next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= next.places;
      next.enter();
    }
  }
}
