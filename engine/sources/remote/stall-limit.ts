import { QuantloomError } from '../../spec';

/** Silence of the other side, as an error that is worth another try. */
export class StallLimit {
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly signal: AbortSignal;

  /** @param what for the message: `huggingface.co`. */
  constructor(
    private readonly what: string,
    private readonly milliseconds: number,
    outer?: AbortSignal,
  ) {
    this.signal = outer ? AbortSignal.any([outer, this.#controller.signal]) : this.#controller.signal;
    this.heard();
  }

  /** Something came: the clock starts anew. */
  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const message = `${this.what} has sent nothing for ${this.milliseconds / 1000} seconds.`;
      this.#controller.abort(new QuantloomError('SourceUnavailable', message, { retryable: true }));
    }, this.milliseconds).unref();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
