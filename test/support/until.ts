import { setTimeout as delay } from 'node:timers/promises';

/** Waits until `probe` finds something. An error counts as nothing found yet, until the test's own time is over. */
export async function until<T>(probe: () => Promise<T | null | undefined | false>): Promise<T> {
  for (;;) {
    const found = await probe().catch(() => null);
    if (found) return found;
    await delay(50);
  }
}
