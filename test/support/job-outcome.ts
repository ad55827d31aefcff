import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from '../../engine/checkpoints';
import type { LogEvent } from './job-stack';
import type { ProgramJob } from './program-job';
import { weightDigests } from './weight-files';

export interface Outcome {
  readonly weights: Record<string, string>;
  /** `quantloom.json` without what differs from run to run. */
  readonly manifest: Omit<Manifest, 'run'>;
}

export function manifestOf(output: string): Manifest {
  return JSON.parse(readFileSync(join(output, 'quantloom.json'), 'utf8')) as Manifest;
}

/** What two runs of the same job have in common. */
export async function outcomeOf(output: string): Promise<Outcome> {
  const { run: _run, ...manifest } = manifestOf(output);
  return { weights: await weightDigests(output), manifest };
}

/**
 * Work that was done although its result was there: a key that was computed by two processes, a result that was there already when
 * it was to be recorded, an artifact that was dropped too early. Empty in every run of a job, however often it was killed.
 */
export function repeatedWork(job: ProgramJob): LogEvent[] {
  const keys = new Set<string>();
  return job.log().filter(({ event, key = '' }) => {
    if (event === 'computed-twice' || event === 'recomputing') return true;
    if (event !== 'computed') return false;
    const again = keys.has(key);
    keys.add(key);
    return again;
  });
}
