/** Against test/oracles/gptq_numpy.py: GPTQ in plain NumPy float64, written from the paper. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KernelChoice, selectKernels } from '../kernels';
import { RecipeSchema } from '../spec';
import type { AffineLinear } from './grids/affine-grid';
import { mergeHessians } from './merge-hessians';
import { type LinearToQuantize, quantizeLinear as quantize } from './quantize-linear';
import type { QuantizationResult } from './quantized-linear';

const quantizeLinear = quantize as (linear: LinearToQuantize) => Promise<QuantizationResult<AffineLinear>>;

// A busy machine is no failure.
jest.setTimeout(300_000);

const oracle = JSON.parse(readFileSync(join(__dirname, 'fixtures', 'gptq.json'), 'utf8'));
const { rows, columns } = oracle;
const weight = floats(oracle.weight);
const partials = oracle.partials.map((part: { gram: string; tokens: number }) => ({
  gram: floats(part.gram),
  tokens: part.tokens,
}));

function bytes(base64: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

function floats(base64: string): Float32Array {
  return new Float32Array(bytes(base64).buffer);
}

test('partial Hessians add up to the mean of x xᵀ', async () => {
  const { hessian, tokens } = await mergeHessians(partials);
  expect(tokens).toBe(150 + 90 + 203);
  const diagonal = new Float64Array(bytes(oracle.hessianDiagonal).buffer);
  for (let i = 0; i < columns; i++) expect(hessian[i * columns + i]).toBeCloseTo(diagonal[i] as number, 12);
  expect(Math.sqrt(hessian.reduce((sum, x) => sum + x * x, 0))).toBeCloseTo(oracle.hessianNorm, 10);
});

interface OracleCase {
  method: string;
  bits: number;
  groupSize: number;
  symmetric: boolean;
  actOrder: string;
  damping: number;
  scales: string;
  refinements: number;
  minimumZero: 0 | 1;
  hessian: boolean;
  codes: string;
  scaleValues: string;
  zeros: string;
  groupOf: string;
  relativeError: number | null;
  relativeErrorBeforeRefinement: number | null;
  relativeWeightError: number;
}

const kernels: KernelChoice[] = selectKernels('native').native ? ['typescript', 'native'] : ['typescript'];
const titled = (oracle.cases as OracleCase[]).map((expected) => {
  const { method, bits, groupSize, symmetric, actOrder, scales, refinements, minimumZero, hessian } = expected;
  const title = [
    `${method} ${bits} bit, group ${groupSize}, ${symmetric ? 'symmetric' : `asymmetric from zero ${minimumZero}`}`,
    `act-order ${actOrder}, ${scales}, ${refinements} refinements, ${hessian ? 'with' : 'without'} Hessian`,
  ].join(', ');
  return [title, expected] as const;
});

const runs = kernels.flatMap((choice) => titled.map(([title, expected]) => [choice, title, expected] as const));

test.each(runs)('%s: %s', async (choice, _, expected) => {
  const { method, bits, groupSize, symmetric, actOrder, damping, scales, refinements, minimumZero } = expected;
  const recipe = RecipeSchema.parse({ method, bits, groupSize, symmetric, actOrder, damping, scales, refinements });
  const hessian = expected.hessian ? (await mergeHessians(partials)).hessian : null;
  const { linear, report } = await quantizeLinear({
    weight,
    rows,
    columns,
    hessian,
    recipe,
    minimumZero,
    kernels: choice,
  });

  expect(linear.groupOf).toEqual(Int32Array.from(bytes(expected.groupOf)));
  expect(linear.scales).toEqual(floats(expected.scaleValues));
  expect(linear.zeros).toEqual(bytes(expected.zeros));
  expect(linear.codes).toEqual(bytes(expected.codes));
  expect(report.rung).toBe(method === 'gptq' ? 'as-asked' : 'not-needed');
  expect(report.deadColumns).toBe(hessian ? 1 : 0);
  expectClose(report.relativeError, expected.relativeError);
  expectClose(report.relativeErrorBeforeRefinement, expected.relativeErrorBeforeRefinement);
  expectClose(report.relativeWeightError, expected.relativeWeightError);
});

function expectClose(actual: number | null, expected: number | null): void {
  if (expected === null) expect(actual).toBeNull();
  else expect(Math.abs((actual as number) / expected - 1)).toBeLessThan(1e-9);
}
