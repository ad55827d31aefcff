import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describeMachine, type Machine } from './measure/machine';

/** What every file of results has. */
export interface Results<Identity, Run> {
  readonly kind: string;
  readonly machine: Machine;
  /** What all runs have in common. */
  readonly workload: Identity;
  readonly runs: Run[];
}

/** Results that grow run by run; with a file, each is on disk before the next begins, and an interrupted measurement goes on. */
export class ResultsFile<Identity, Run> {
  private constructor(
    private readonly file: string | null,
    readonly results: Results<Identity, Run>,
  ) {}

  /** @throws Error when the file holds something else than results of this kind, machine and workload. */
  static open<Identity, Run>(file: string | null, kind: string, workload: Identity): ResultsFile<Identity, Run> {
    const machine = describeMachine();
    if (file === null || !existsSync(file)) return new ResultsFile(file, { kind, machine, workload, runs: [] });
    const before = JSON.parse(readFileSync(file, 'utf8')) as Results<Identity, Run>;
    const now = { kind, machine, workload };
    for (const field of ['kind', 'machine', 'workload'] as const) {
      if (isDeepStrictEqual(before[field], JSON.parse(JSON.stringify(now[field])))) continue;
      throw new Error(
        `${basename(file)} holds results with another ${field}: ${JSON.stringify(before[field])}, now ${JSON.stringify(now[field])}. Name another file with --json, or remove that one.`,
      );
    }
    return new ResultsFile(file, before);
  }

  add(run: Run): void {
    this.results.runs.push(run);
    if (this.file === null) return;
    mkdirSync(dirname(this.file), { recursive: true });
    writeFileSync(`${this.file}.tmp`, `${JSON.stringify(this.results, null, 2)}\n`);
    renameSync(`${this.file}.tmp`, this.file);
  }
}
