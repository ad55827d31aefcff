import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import Table from 'cli-table3';

/** One way to compute something; resolves to the seconds that it took. */
export type Variant = () => Promise<number>;

export interface Result {
  readonly kernel: string;
  readonly rows: number | null;
  readonly columns: number;
  /** Median seconds by variant. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** Wall time, or what all threads of the process took together: the one to look at where others use the machine too. */
export type Clock = 'wall' | 'cpu';

let clock: Clock = 'wall';

/** What is measured from now on. */
export function measureWith(other: Clock): void {
  clock = other;
}

function seconds(): number {
  if (clock === 'wall') return performance.now() / 1000;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Times `work`; what `prepare` makes for it is not counted. */
export function timed<T>(work: (given: T) => unknown, prepare: () => T | Promise<T>): Variant {
  return async () => {
    const given = await prepare();
    const began = seconds();
    await work(given);
    return seconds() - began;
  };
}

/** NumPy and torch in a process of their own: one JSON object per line in, seconds out. */
export class Python {
  private readonly answers: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcess) {
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    this.answers = lines[Symbol.asyncIterator]();
  }

  static open(executable: string, script: string, threads: number): Python {
    const environment = { OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0', OMP_NUM_THREADS: String(threads) };
    return new Python(
      spawn(executable, [script, String(threads), clock], {
        env: { ...process.env, ...environment },
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
  }

  variants(libraries: readonly string[], task: Record<string, unknown>): Record<string, Variant> {
    return Object.fromEntries(libraries.map((library) => [library, () => this.seconds({ ...task, library })]));
  }

  private async seconds(task: Record<string, unknown>): Promise<number> {
    this.child.stdin?.write(`${JSON.stringify(task)}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error('The Python process ended; see above.');
    return JSON.parse(value).seconds;
  }

  async close(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode === null) await once(this.child, 'exit');
  }
}

/** The variants take turns, round after round. */
export async function measure(
  { kernel, rows, columns, rounds }: Pick<Result, 'kernel' | 'rows' | 'columns'> & { readonly rounds: number },
  variants: Record<string, Variant>,
): Promise<Result> {
  const times = new Map<string, number[]>(Object.keys(variants).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, variant] of Object.entries(variants)) {
      const took = await variant();
      // The first round warms up.
      if (round > 0) times.get(name)?.push(took);
    }
  }
  const median = (list: number[]) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;
  const medians = Object.fromEntries([...times].map(([name, list]) => [name, median(list)]));
  process.stderr.write(`${kernel} ${rows ?? ''} x ${columns}: ${JSON.stringify(medians)}\n`);
  return { kernel, rows, columns, seconds: medians };
}

/** Milliseconds, and how many times longer than `native` each takes. */
export function tableOf(results: readonly Result[]): string {
  const names = [...new Set(results.flatMap((result) => Object.keys(result.seconds)))];
  const table = new Table({ head: ['kernel', 'rows', 'columns', ...names], style: { head: [], border: [] } });
  for (const result of results) {
    const cells = names.map((name) => {
      const own = result.seconds[name];
      if (own === undefined) return '';
      const ratio = result.seconds.native ? ` (${(own / result.seconds.native).toFixed(2)}x)` : '';
      return `${(own * 1000).toFixed(1)} ms${name === 'native' ? '' : ratio}`;
    });
    table.push([result.kernel, result.rows ?? '', result.columns, ...cells]);
  }
  return table.toString();
}
