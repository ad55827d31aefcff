import { createHash } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';

/** Where a job assembles its output: beside it, so that publishing is one rename; the same for every attempt of the job. */
export function stagingDirectory(output: string, job: string): string {
  const mark = createHash('sha256').update(job).digest('hex').slice(0, 8);
  const directory = resolve(output);
  return join(dirname(directory), `.${basename(directory)}.quantloom-${mark}`);
}
