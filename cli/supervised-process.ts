import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

export interface SupervisedProcessOptions {
  /** For messages. */
  readonly name: string;
  launch(): ChildProcess;
  /** Settles when this child serves. */
  isReady(child: ChildProcess): Promise<unknown>;
  readonly note: (line: string) => void;
  /** Called when the child ended by itself. */
  readonly onEnd?: () => void;
  /** Wait before the first restart; doubles with each failure in a row. Default 250. */
  readonly backoffMs?: number;
  /** Default 10,000. */
  readonly maximumBackoffMs?: number;
  /** Ends before it was ever ready, in a row, after which it counts as broken. Default 3. */
  readonly attempts?: number;
}

export interface SupervisedProcess {
  /** The first time it serves. Rejects when it never does. */
  readonly ready: Promise<void>;
  readonly pid: number | undefined;
  /** SIGTERM, then SIGKILL when it is still there after the time limit. */
  stop(limitMs: number): Promise<void>;
}

/** A child that lived this long did not fail to start. */
const SETTLED_MS = 30_000;

/** Keeps a child process running: starts it again when it ends by itself. */
export function superviseProcess(options: SupervisedProcessOptions): SupervisedProcess {
  const { name, note, backoffMs = 250, maximumBackoffMs = 10_000, attempts = 3 } = options;
  const stopping = new AbortController();
  let child: ChildProcess | undefined;
  let served = false;
  let settle: { resolve(): void; reject(error: Error): void } | undefined;
  const ready = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  ready.catch(() => {});

  const loop = async () => {
    for (let failures = 0; !stopping.signal.aborted; ) {
      const started = Date.now();
      child = options.launch();
      const ended = endOf(child);
      options.isReady(child).then(
        () => {
          served = true;
          settle?.resolve();
        },
        () => {},
      );
      const how = await ended;
      if (stopping.signal.aborted) return;
      failures = Date.now() - started > SETTLED_MS ? 1 : failures + 1;
      if (!served && failures >= attempts) {
        settle?.reject(new Error(`${name} does not start (${how})`));
        return;
      }
      const waitMs = Math.min(backoffMs * 2 ** (failures - 1), maximumBackoffMs);
      options.onEnd?.();
      note(`${name} ended (${how}); starting it again`);
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  };
  const looping = loop();

  return {
    ready,
    get pid() {
      return child?.pid;
    },
    async stop(limitMs) {
      stopping.abort();
      const last = child;
      if (last && last.exitCode === null && last.signalCode === null) {
        last.kill('SIGTERM');
        const timer = setTimeout(() => last.kill('SIGKILL'), limitMs);
        await looping;
        clearTimeout(timer);
      }
      await looping;
    },
  };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}
