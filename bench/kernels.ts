/**
 * The solver's kernels side by side: TypeScript, native, and NumPy and torch where a Python with them is given.
 *
 *     QUANTLOOM_PEERS_PYTHON=.../python npm run bench:kernels -- [--threads 2] [--rounds 5] [--columns 576,1536,4096] [--json]
 *
 * The variants take turns, round after round; the table has the median of each, and how many times longer than native it takes.
 * TypeScript runs on one thread here (quantizeLinear uses more), and is left out above 1536 columns, where it takes minutes.
 */
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type NativeAddon, referenceKernels, selectKernels } from '../engine/kernels';
import { cholesky } from '../engine/kernels/inverse-factor';
import { prepareHessian, quantizeLinear } from '../engine/quantizers';
import { RecipeSchema } from '../engine/spec';
import { measure, Python, type Result, tableOf, timed, type Variant } from './side-by-side';

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

const measured = (
  kernel: string,
  rows: number | null,
  columns: number,
  variants: Record<string, Variant>,
): Promise<Result> => measure({ kernel, rows, columns, rounds }, variants);

async function measureColumns(n: number, native: NativeAddon | null, python: Python | null): Promise<Result[]> {
  const typescript = n <= MOST_COLUMNS_IN_TYPESCRIPT;
  const hessian = hessianOf(n);
  const order = countingUp(n);
  const dead = new Uint8Array(n);
  const results: Result[] = [];
  const peers = (libraries: string[], kernel: string) =>
    python?.variants(libraries, { kernel, columns: n, rows: ROWS }) ?? {};

  results.push(
    await measured('cholesky', null, n, {
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
    await measured('inverse factor', null, n, {
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
    await measured('column loop', ROWS, n, {
      ...ofNative('gptq-static', false),
      ...(typescript && {
        typescript: timed((problem) => {
          referenceKernels.findScales({ ...problem, search: false });
          referenceKernels.gptqColumns({ ...problem, factor: factored, groupOf, scaling: null });
        }, inTypescript),
      }),
      ...peers(['torch float32'], 'column loop'),
    }),
    await measured('scale search', ROWS, n, {
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
        await measured(`linear, ${refinements} refinements`, rows, columns, {
          ...(native && { native: solve('native') }),
          typescript: solve('typescript'),
        }),
      );
    }
  }
  return results;
}

async function main(): Promise<void> {
  const { native, name } = selectKernels();
  const executable = process.env.QUANTLOOM_PEERS_PYTHON;
  const python = executable ? Python.open(executable, join(__dirname, 'kernels_torch.py'), threads) : null;
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
