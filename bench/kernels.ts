/**
 * The solver's kernels side by side: TypeScript, native, and NumPy and torch where a Python with them is given.
 *
 *     QUANTLOOM_PEERS_PYTHON=.../python npm run bench:kernels -- [--threads 2] [--rounds 5] [--columns 576,1536,4096] [--json]
 *
 * The variants take turns, round after round; the table has the median of each, and how many times longer than native it takes.
 * TypeScript runs on one thread here (quantizeLinear uses more), and is left out above 1536 columns, where it takes minutes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { type NativeAddon, referenceKernels, selectKernels } from '../engine/kernels';
import { cholesky } from '../engine/kernels/inverse-factor';
import { prepareHessian, quantizeLinear } from '../engine/quantizers';
import { RecipeSchema } from '../engine/spec';

const { values: flags } = parseArgs({
  options: {
    threads: { type: 'string', default: String(availableParallelism()) },
    rounds: { type: 'string', default: '5' },
    columns: { type: 'string', default: '576,1536,4096' },
    json: { type: 'boolean', default: false },
  },
});
const threads = Number(flags.threads);
const rounds = Number(flags.rounds);
const ROWS = 1024;
const GROUP = 64;
const LEVELS = 15;
/** More than this would take TypeScript minutes. */
const MOST_COLUMNS_IN_TYPESCRIPT = 1536;

/** One way to compute something; resolves to the seconds that it took. */
type Variant = () => Promise<number>;
interface Result {
  readonly kernel: string;
  readonly rows: number | null;
  readonly columns: number;
  /** Median seconds by variant. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** Damped, positive definite, strongly correlated. As in kernels_torch.py. */
function hessianOf(n: number): Float64Array {
  const gain = (i: number) => 1 + ((i * 7) % 5) / 3;
  const h = new Float64Array(n * n);
  let trace = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) h[i * n + j] = 0.9 ** Math.abs(i - j) * gain(i) * gain(j);
    trace += h[i * n + i] as number;
  }
  for (let i = 0; i < n; i++) h[i * n + i] = (h[i * n + i] as number) + (0.01 * trace) / n;
  return h;
}

const weightsOf = (rows: number, columns: number) =>
  Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(0.37 * i * i + i));
const countingUp = (n: number) => Int32Array.from({ length: n }, (_, i) => i);

/** Times `work`; what `prepare` makes for it is not counted. */
function timed<T>(work: (given: T) => unknown, prepare: () => T | Promise<T>): Variant {
  return async () => {
    const given = await prepare();
    const began = performance.now();
    await work(given);
    return (performance.now() - began) / 1000;
  };
}

/** NumPy and torch in a process of their own. */
class Python {
  private readonly answers: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcess) {
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    this.answers = lines[Symbol.asyncIterator]();
  }

  static open(executable: string): Python {
    const environment = { OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0', OMP_NUM_THREADS: flags.threads };
    const script = join(__dirname, 'kernels_torch.py');
    const stdio = ['pipe', 'pipe', 'inherit'] as const;
    return new Python(
      spawn(executable, [script, flags.threads], { env: { ...process.env, ...environment }, stdio: [...stdio] }),
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

async function measure(
  kernel: string,
  rows: number | null,
  columns: number,
  variants: Record<string, Variant>,
): Promise<Result> {
  const times = new Map<string, number[]>(Object.keys(variants).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, variant] of Object.entries(variants)) {
      const seconds = await variant();
      // The first round warms up.
      if (round > 0) times.get(name)?.push(seconds);
    }
  }
  const median = (list: number[]) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;
  const seconds = Object.fromEntries([...times].map(([name, list]) => [name, median(list)]));
  process.stderr.write(`${kernel} ${rows ?? ''} x ${columns}: ${JSON.stringify(seconds)}\n`);
  return { kernel, rows, columns, seconds };
}

async function measureColumns(n: number, native: NativeAddon | null, python: Python | null): Promise<Result[]> {
  const typescript = n <= MOST_COLUMNS_IN_TYPESCRIPT;
  const hessian = hessianOf(n);
  const order = countingUp(n);
  const dead = new Uint8Array(n);
  const results: Result[] = [];
  const peers = (libraries: string[], kernel: string) =>
    python?.variants(libraries, { kernel, columns: n, rows: ROWS }) ?? {};

  results.push(
    await measure('cholesky', null, n, {
      ...(native && {
        native: timed(
          (a) => native.cholesky(a, n, threads),
          () => hessian.slice(),
        ),
        'native float32': timed(
          (a) => native.choleskySingle(a, n, threads),
          () => Float32Array.from(hessian),
        ),
      }),
      ...(typescript && {
        typescript: timed(
          (a) => cholesky(a, n),
          () => hessian.slice(),
        ),
      }),
      ...peers(['numpy', 'torch float64', 'torch float32'], 'cholesky'),
    }),
  );

  const factorization = { hessian, columns: n, solveOrder: order, dead, damping: 0, floor: Number.NEGATIVE_INFINITY };
  const factor = new Float64Array(n * n);
  results.push(
    await measure('inverse factor', null, n, {
      ...(native && {
        native: timed(
          () => native.inverseFactor(factorization, threads, new native.Cancellation()),
          () => null,
        ),
      }),
      ...(typescript && {
        typescript: timed(
          (a) => referenceKernels.inverseFactor(a, factor, n),
          () => hessian.slice(),
        ),
      }),
      ...peers(['numpy', 'torch float64', 'torch float32'], 'inverse factor'),
    }),
  );

  const factored = native
    ? await native.inverseFactor(factorization, threads, new native.Cancellation())
    : referenceKernels.inverseFactor(hessian.slice(), factor, n) && factor;
  if (!factored) throw new Error('The Hessian is not positive definite.');
  const weight = weightsOf(ROWS, n);
  const solvable = { hessian, outerOrder: order, solveOrder: order, dead, factor: factored };
  const linear = {
    weight,
    rows: ROWS,
    columns: n,
    groupSize: GROUP,
    levels: LEVELS,
    symmetric: true,
    minimumZero: 0,
    refinements: 0,
  };
  const ofNative = (method: 'rtn' | 'gptq-static', search: boolean) =>
    native && {
      native: timed(
        () =>
          native.quantizeLinear(
            { ...linear, method, search, errors: false, solvable },
            threads,
            new native.Cancellation(),
          ),
        () => null,
      ),
    };
  const importance = hessian.filter((_, at) => at % (n + 1) === 0);
  const inTypescript = () => ({
    weights: Float64Array.from(weight),
    rows: ROWS,
    columns: n,
    groupSize: GROUP,
    grid: { levels: LEVELS, symmetric: true, minimumZero: 0 },
    importance,
    scales: new Float32Array((ROWS * n) / GROUP),
    zeros: new Uint8Array((ROWS * n) / GROUP),
    codes: new Uint8Array(ROWS * n),
  });
  const groupOf = order.map((i) => Math.floor(i / GROUP));
  results.push(
    await measure('column loop', ROWS, n, {
      ...ofNative('gptq-static', false),
      ...(typescript && {
        typescript: timed((problem) => {
          referenceKernels.findScales({ ...problem, search: false });
          referenceKernels.gptqColumns({ ...problem, factor: factored, groupOf, scaling: null });
        }, inTypescript),
      }),
      ...peers(['torch float32'], 'column loop'),
    }),
    await measure('scale search', ROWS, n, {
      ...ofNative('rtn', true),
      ...(typescript && {
        typescript: timed((problem) => referenceKernels.findScales({ ...problem, search: true }), inTypescript),
      }),
      ...peers(['torch float32'], 'scale search'),
    }),
  );
  return results;
}

/** Whole linears of SmolLM2-135M, with the factorization, by quantizeLinear. */
async function measureLinears(native: NativeAddon | null): Promise<Result[]> {
  const results: Result[] = [];
  for (const [rows, columns] of [
    [960, 576],
    [576, 576],
    [3072, 576],
    [576, 1536],
  ] as const) {
    const weight = weightsOf(rows, columns);
    const hessian = hessianOf(columns);
    for (const refinements of [0, 3]) {
      const recipe = RecipeSchema.parse({ bits: 4, groupSize: GROUP, refinements });
      const solve = (kernels: 'native' | 'typescript') =>
        timed(
          (prepared) =>
            quantizeLinear({ weight, rows, columns, hessian: prepared, recipe, minimumZero: 0, threads, kernels }),
          () => prepareHessian(hessian),
        );
      results.push(
        await measure(`linear, ${refinements} refinements`, rows, columns, {
          ...(native && { native: solve('native') }),
          typescript: solve('typescript'),
        }),
      );
    }
  }
  return results;
}

function tableOf(results: readonly Result[]): string {
  const names = [...new Set(results.flatMap(({ seconds }) => Object.keys(seconds)))];
  const table = new Table({ head: ['kernel', 'rows', 'columns', ...names], style: { head: [], border: [] } });
  for (const { kernel, rows, columns, seconds } of results) {
    const cells = names.map((name) => {
      const own = seconds[name];
      if (own === undefined) return '';
      const ratio = seconds.native ? ` (${(own / seconds.native).toFixed(2)}x)` : '';
      return `${(own * 1000).toFixed(1)} ms${name === 'native' ? '' : ratio}`;
    });
    table.push([kernel, rows ?? '', columns, ...cells]);
  }
  return table.toString();
}

async function main(): Promise<void> {
  const { native, name } = selectKernels();
  const executable = process.env.QUANTLOOM_PEERS_PYTHON;
  const python = executable ? Python.open(executable) : null;
  const results: Result[] = [];
  try {
    for (const n of (flags.columns as string).split(',').map(Number)) {
      results.push(...(await measureColumns(n, native, python)));
    }
    results.push(...(await measureLinears(native)));
  } finally {
    await python?.close();
  }
  const document = {
    kernels: name,
    threads,
    rounds,
    cpu: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    results,
  };
  process.stdout.write(`${JSON.stringify(document)}\n`);
  if (!flags.json) process.stdout.write(`${tableOf(results)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
