import { rm } from 'node:fs/promises';
import { discardFromBucket, isBucketOutput } from '../engine/checkpoints';
import { stagingRoot } from './local-checkpoint';
import type { ActivityRuntime } from './runtime';

/** Removes what a job has assembled, or uploaded, but not published. */
export async function discardCheckpoints(
  { output, job }: { output: string; job: string },
  runtime: ActivityRuntime,
): Promise<void> {
  await rm(stagingRoot(output, job, runtime), { recursive: true, force: true });
  if (isBucketOutput(output)) await discardFromBucket(output, job, runtime.sources?.s3 ?? {});
}
