import type { ActivityRuntime, Attempt } from './runtime';

/** So many at a time, whoever asks first. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Does `work` when its turn has come. @throws the reason of `signal`, when that is aborted before. */
  async take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#come(signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }

  async #come(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(signal.reason);
      };
      this.#waiting.push(go);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}

/** An activity that waits for its turn, where the worker has a bound on such. */
export function inTurn<Input, Output>(
  body: (input: Input, runtime: ActivityRuntime, attempt: Attempt) => Promise<Output>,
): typeof body {
  return (input, runtime, attempt) => {
    const work = () => body(input, runtime, attempt);
    return runtime.turns ? runtime.turns.take(attempt.signal, work) : work();
  };
}
