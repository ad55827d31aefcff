import { logLine } from './worker-log';

/** Exit code of a worker that wants to be started afresh (EX_TEMPFAIL of sysexits.h). */
export const START_AFRESH = 75;

/** Bound on the resident memory of a process. It is looked at when an activity has ended, so that every process gets something done. */
export class MemoryBound {
  #exceeded = false;

  /** @param maxBytes null: none. */
  constructor(
    private readonly maxBytes: number | null,
    private readonly onExceeded: () => void,
  ) {}

  get exceeded(): boolean {
    return this.#exceeded;
  }

  activityEnded(): void {
    if (this.maxBytes === null || this.#exceeded) return;
    const residentBytes = process.memoryUsage.rss();
    if (residentBytes <= this.maxBytes) return;
    this.#exceeded = true;
    logLine('memory-bound', { residentBytes, maxBytes: this.maxBytes });
    this.onExceeded();
  }
}
