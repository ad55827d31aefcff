import type { Traces } from './open-traces';
import { wantsTraces } from './wants-traces';

export type { Traces } from './open-traces';

let opened: Traces | null = null;

/** The traces of this process; null where the environment names no collector, and then nothing of OpenTelemetry is loaded. */
export function tracesOf(part: string, environment: Readonly<Record<string, string | undefined>>): Traces | null {
  if (!opened && wantsTraces(environment)) {
    opened = (require('./open-traces') as typeof import('./open-traces')).openTraces(part);
  }
  return opened;
}

/** Sends what is left, in at most three seconds. */
export async function closeTraces(): Promise<void> {
  await opened?.close();
  opened = null;
}
