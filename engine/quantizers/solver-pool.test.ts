/** The pool needs compiled files: child processes run those of dist. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

// A busy machine is no failure.
jest.setTimeout(300_000);

const compiled = join(__dirname, '..', '..', 'dist', 'engine', 'quantizers');

/** Runs the body of an async function with `engine`, `problem` and `recipe` at hand; it must exit by itself. Returns its JSON. */
async function inChildProcess(body: string): Promise<Record<string, unknown>> {
  const script = `
    const engine = require(${JSON.stringify(compiled)});
    const [rows, columns] = [300, 96];
    const weight = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i));
    const hessian = new Float64Array(columns * columns);
    for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) hessian[i * columns + j] = 0.9 ** Math.abs(i - j);
    const recipe = { method: 'gptq', bits: 4, groupSize: 32, symmetric: true, actOrder: 'static', damping: 0.01, scales: 'search', refinements: 3, restarts: 1, groupRounds: 1, mismatch: 0.5 };
    const missing = [0.1, 0.09].map((size) => weight.map((value, i) => size * (value + Math.cos(i))));
    const problem = { weight, missing, rows, columns, hessian, recipe, minimumZero: 0, kernels: 'typescript' };
    (async () => { ${body} })().then((result) => console.log(JSON.stringify(result)));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { timeout: 60_000 });
  return JSON.parse(stdout);
}

test('the bytes do not depend on the number of threads, and the process exits by itself', async () => {
  const result = await inChildProcess(`
    const { createHash } = require('node:crypto');
    const hashes = [];
    for (const threads of [0, 1, 2, 3]) {
      const { linear, report } = await engine.quantizeLinear({ ...problem, threads });
      const bytes = engine.serializeQuantizedLinear(linear);
      hashes.push(createHash('sha256').update(bytes).update(JSON.stringify(report)).digest('hex'));
    }
    return { hashes };
  `);
  expect(new Set(result.hashes as string[]).size).toBe(1);
  expect(result.hashes).toHaveLength(4);
});

test('the event loop turns while threads solve', async () => {
  const result = await inChildProcess(`
    let turns = 0;
    let solving = true;
    (function turn() { turns++; if (solving) setImmediate(turn); })();
    await engine.quantizeLinear({ ...problem, threads: 2 });
    solving = false;
    return { turns };
  `);
  // One turn per block of rows would be seven.
  expect(result.turns).toBeGreaterThan(100);
});

test('an abort ends a running task with the signal’s reason, and the pool goes on', async () => {
  const result = await inChildProcess(`
    const controller = new AbortController();
    const hours = { ...problem, recipe: { ...recipe, refinements: 20, mismatch: 0 }, rows: 30000, weight: new Float32Array(30000 * columns).fill(0.3) };
    const aborted = engine.quantizeLinear({ ...hours, threads: 2, signal: controller.signal }).catch((error) => error.message);
    setTimeout(() => controller.abort(new Error('stopped by the operator')), 200);
    const message = await aborted;
    const { report } = await engine.quantizeLinear({ ...problem, threads: 2 });
    return { message, rung: report.rung };
  `);
  expect(result).toEqual({ message: 'stopped by the operator', rung: 'as-asked' });
});

test('errors keep their code across threads', async () => {
  const result = await inChildProcess(`
    problem.weight[250 * columns + 3] = NaN;
    const error = await engine.quantizeLinear({ ...problem, threads: 2, name: 'k_proj' }).catch((error) => error);
    return { name: error.name, code: error.code, message: error.message };
  `);
  expect(result).toMatchObject({ name: 'QuantloomError', code: 'NonFiniteWeights' });
  expect(result.message).toContain('k_proj is NaN at row 250, column 3');
});
