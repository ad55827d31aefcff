import { rm } from 'node:fs/promises';
import { stagingDirectory } from './staging-directory';

/** Removes what a job has assembled but not published. */
export async function discardCheckpoints(input: { output: string; job: string }): Promise<void> {
  await rm(stagingDirectory(input.output, input.job), { recursive: true, force: true });
}
