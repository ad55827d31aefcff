import type { Worker, WorkerOptions } from '@temporalio/worker';

/** Until activities that were cancelled have let go. What terminates the process from outside has to wait for longer than grace and this. */
const FORCE_SECONDS = 15;

/** An activity that is not done within the grace time is cancelled and tried again elsewhere; the process never hangs. */
export function shutdownTimes(
  graceSeconds: number,
): Required<Pick<WorkerOptions, 'shutdownGraceTime' | 'shutdownForceTime'>> {
  return { shutdownGraceTime: graceSeconds * 1000, shutdownForceTime: (graceSeconds + FORCE_SECONDS) * 1000 };
}

/** They take no more work, finish what they have, and end. */
export function shutDown(workers: readonly Worker[]): void {
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
}

/** Shuts the workers down when the process at the other end of stdin is gone, however it went: no worker outlives its parent. */
export function shutDownWithParent(workers: readonly Worker[]): void {
  process.stdin.on('end', () => shutDown(workers));
  process.stdin.resume();
  process.stdin.unref?.();
}
