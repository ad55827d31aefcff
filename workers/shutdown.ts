import type { Worker, WorkerOptions } from '@temporalio/worker';

/** An activity that is not done within the grace time is cancelled and tried again elsewhere; the process never hangs. */
export const SHUTDOWN = { shutdownGraceTime: '5s', shutdownForceTime: '20s' } as const satisfies Partial<WorkerOptions>;

/** Shuts the workers down when the process at the other end of stdin is gone, however it went: no worker outlives its parent. */
export function shutDownWithParent(workers: readonly Worker[]): void {
  process.stdin.on('end', () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  });
  process.stdin.resume();
  process.stdin.unref?.();
}
