import { QuantloomError } from '../engine/spec';

export interface CommandOutputOptions {
  readonly stdout: NodeJS.WritableStream & { isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { isTTY?: boolean; columns?: number };
  /** One JSON document on stdout instead of text. */
  readonly json: boolean;
  /** Print stack traces. */
  readonly debug: boolean;
}

/** Where a command writes: its result on stdout (text, or exactly one JSON document), all else on stderr. */
export class CommandOutput {
  private documented = false;

  constructor(private readonly options: CommandOutputOptions) {}

  get json(): boolean {
    return this.options.json;
  }

  /** The stream for progress and notes. */
  get stderr(): CommandOutputOptions['stderr'] {
    return this.options.stderr;
  }

  /** Whether somebody watches: progress may be redrawn in place. */
  get live(): boolean {
    const { stderr, json } = this.options;
    return stderr.isTTY === true && (stderr.columns ?? 0) > 0 && !json;
  }

  /** The result. `text` is printed for people, `document` with --json. */
  result(document: unknown, text: string): void {
    if (!this.options.json) {
      if (text !== '') this.options.stdout.write(`${text}\n`);
      return;
    }
    if (this.documented) return;
    this.documented = true;
    this.options.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  }

  /** A line for people. */
  note(line: string): void {
    this.options.stderr.write(`${line}\n`);
  }

  /**
   * One line, `error: ...`; with --json also the document `{error: {code, message}}` unless a result was printed. `details` is in it
   * where there are any: every refusal of a plan with a code of its own, every check of a verification.
   */
  error(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const code = QuantloomError.is(error) ? error.code : 'Unexpected';
    const details = QuantloomError.is(error) ? error.options.details : undefined;
    this.note(`error: ${message.replaceAll(/\s*\n\s*/g, ' ')}`);
    if (this.options.debug && error instanceof Error) this.note(error.stack ?? '');
    if (this.options.json) this.result({ error: { code, message, details } }, '');
  }
}
