import fc from 'fast-check';
import { descendOnGrid } from './descend-on-grid';
import { gptqColumns } from './gptq-columns';
import { gptqOnGrid } from './gptq-on-grid';
import { nativeGridKernels } from './grid-kernels';
import { inverseFactor } from './inverse-factor';
import { outputEnergy } from './output-energy';
import { nearestLevel, type RealGrid, valueOnGrid } from './real-grid';
import { selectKernels } from './select-kernels';

/** Numbers in (-1, 1) that look random. */
function noise(count: number, seed: number): Float64Array {
  let state = seed >>> 0 || 1;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** X Xᵀ / n + I / 20. */
function positiveDefinite(n: number, seed: number): Float64Array {
  const x = noise(n * n, seed);
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = i === j ? 0.05 : 0;
    for (let k = 0; k < n; k++) sum += ((x[i * n + k] as number) * (x[j * n + k] as number)) / n;
    return sum;
  });
}

function problemOf(columns: number, seed: number) {
  const [rows, groupSize] = [3, 16];
  const groups = Math.ceil(columns / groupSize);
  const hessian = positiveDefinite(columns, seed);
  const factor = new Float64Array(columns * columns);
  expect(inverseFactor(hessian.slice(), factor, columns)).toBe(true);
  const scales = Float32Array.from(noise(rows * groups, seed + 1), (x) => 0.1 + Math.abs(x) / 8);
  return { rows, columns, groupSize, groups, hessian, factor, scales, weights: noise(rows * columns, seed + 2) };
}

const columnCounts = fc.integer({ min: 1, max: 5 }).map((n) => 16 * n);
const seeds = fc.integer({ min: 1, max: 1 << 20 });

test('the nearest level is the nearest level', () => {
  const levels = Float64Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  fc.assert(
    fc.property(fc.double({ min: -200, max: 200, noNaN: true }), (x) => {
      const distances = [...levels].map((level) => Math.abs(level - x));
      expect(distances[nearestLevel(levels, x)]).toBe(Math.min(...distances));
    }),
  );
});

test('on an affine grid, GPTQ has the codes of the kernel for affine grids, shifted zero points and signs of scales included', () => {
  fc.assert(
    fc.property(columnCounts, seeds, fc.integer({ min: 0, max: 15 }), fc.boolean(), (columns, seed, zero, flipped) => {
      const { rows, groupSize, groups, factor, scales, weights } = problemOf(columns, seed);
      const order = Int32Array.from({ length: columns }, (_, i) => i);
      const expected = new Uint8Array(rows * columns);
      gptqColumns({
        ...{ rows, columns, groupSize, factor, scales, codes: expected, scaling: null, weights: weights.slice() },
        groupOf: order.map((column) => Math.floor(column / groupSize)),
        grid: { levels: 15, symmetric: false, minimumZero: 0 },
        zeros: new Uint8Array(rows * groups).fill(zero),
      });
      const grid: RealGrid = {
        groupSize,
        levels: Float64Array.from({ length: 16 }, (_, code) => code),
        scales: Float64Array.from(scales, (scale) => (flipped ? -scale : scale)),
        offsets: Float64Array.from(scales, (scale) => scale * (flipped ? 15 - zero : -zero)),
      };
      const codes = new Uint8Array(rows * columns);
      gptqOnGrid({ weights, rows, columns, grid, factor, solveOrder: order, codes });
      expect(codes.map((code) => (flipped ? 15 - code : code))).toEqual(expected);
    }),
    { numRuns: 30 },
  );
});

test('descent ends where no other code of any column lowers the error', () => {
  fc.assert(
    fc.property(columnCounts, seeds, (columns, seed) => {
      const { rows, groupSize, groups, hessian, scales, weights } = problemOf(columns, seed);
      const levels = Float64Array.of(-4, -1, 0, 1, 3);
      // A group of one value, which no code changes.
      const grid = { groupSize, levels, scales: Float64Array.from(scales), offsets: noise(rows * groups, seed + 3) };
      grid.scales[0] = 0;
      const codes = new Uint8Array(rows * columns).fill(2);
      const errorsOf = (of: Uint8Array) => {
        const difference = weights.map((weight, at) => {
          const group = Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize);
          return weight - valueOnGrid(grid, group, of[at] as number);
        });
        return outputEnergy(difference, hessian, rows, columns);
      };
      const before = errorsOf(codes);
      descendOnGrid({ weights, rows, columns, grid, hessian, rounds: 1000, codes });
      const after = errorsOf(codes);
      for (let row = 0; row < rows; row++) expect(after[row] as number).toBeLessThanOrEqual(before[row] as number);
      for (let at = 0; at < codes.length; at += 13) {
        const row = Math.floor(at / columns);
        for (let code = 0; code < levels.length; code++) {
          const other = codes.slice();
          other[at] = code;
          expect(errorsOf(other)[row] as number).toBeGreaterThan((after[row] as number) * (1 - 1e-6));
        }
      }
    }),
    { numRuns: 6 },
  );
});

describe('the native kernels', () => {
  const { native } = selectKernels('native');
  // Where native/ is not built there is nothing to compare.
  const kernels = native ? nativeGridKernels(native) : { gptqOnGrid, descendOnGrid, outputEnergy };
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 7 }),
    columns: fc.integer({ min: 1, max: 10 }).map((n) => 16 * n),
    levels: fc.integer({ min: 1, max: 40 }),
    seed: seeds,
  });
  const gridProblem = ({
    rows,
    columns,
    levels,
    seed,
  }: { [name: string]: number } & Record<'rows' | 'columns' | 'levels' | 'seed', number>) => {
    const groups = columns / 16;
    const grid: RealGrid = {
      groupSize: 16,
      levels: noise(levels, seed)
        .map((x) => 8 * x)
        .sort(),
      scales: noise(rows * groups, seed + 1).map((x) => (Math.abs(x) < 0.1 ? 0 : x)),
      offsets: noise(rows * groups, seed + 2),
    };
    const order = Int32Array.from({ length: columns }, (_, i) => (i * 7) % columns);
    const solveOrder = new Set(order).size === columns ? order : order.map((_, i) => columns - 1 - i);
    const hessian = positiveDefinite(columns, seed);
    const factor = new Float64Array(columns * columns);
    const turned = Float64Array.from(hessian, (_, at) => {
      const [i, j] = [solveOrder[Math.floor(at / columns)] as number, solveOrder[at % columns] as number];
      return hessian[i * columns + j] as number;
    });
    inverseFactor(turned, factor, columns);
    return { rows, columns, grid, weights: noise(rows * columns, seed + 3), hessian, factor, solveOrder };
  };
  /** Codes may differ where two levels are as near to the last bits: what counts is the error. */
  const expectAlike = (found: Float64Array, expected: Float64Array) => {
    for (const [row, error] of found.entries()) expect(error).toBeCloseTo(expected[row] as number, 6);
  };

  test('have the errors of the reference', () => {
    fc.assert(
      fc.property(sizes, (size) => {
        const { hessian, factor, solveOrder, ...problem } = gridProblem(size);
        const { rows, columns, grid, weights } = problem;
        const groups = columns / grid.groupSize;
        const [codes, expected] = [new Uint8Array(rows * columns), new Uint8Array(rows * columns)];
        const errorsOf = (of: Uint8Array) => {
          const difference = weights.map((weight, at) => {
            const group = Math.floor(at / columns) * groups + Math.floor((at % columns) / grid.groupSize);
            return weight - valueOnGrid(grid, group, of[at] as number);
          });
          const energies = outputEnergy(difference, hessian, rows, columns);
          expectAlike(kernels.outputEnergy(difference, hessian, rows, columns), energies);
          return energies;
        };
        kernels.gptqOnGrid({ ...problem, factor, solveOrder, codes });
        gptqOnGrid({ ...problem, factor, solveOrder, codes: expected });
        expectAlike(errorsOf(codes), errorsOf(expected));
        kernels.descendOnGrid({ ...problem, hessian, rounds: 3, codes });
        descendOnGrid({ ...problem, hessian, rounds: 3, codes: expected });
        expectAlike(errorsOf(codes), errorsOf(expected));
      }),
      { numRuns: 60 },
    );
  });

  test('do each row for itself', () => {
    const { hessian, factor, solveOrder, weights, grid, columns } = gridProblem({
      rows: 7,
      columns: 160,
      levels: 9,
      seed: 5,
    });
    const solve = (first: number, rows: number) => {
      const groups = columns / grid.groupSize;
      const part = <T extends Float64Array>(of: T, width: number) => of.slice(first * width, (first + rows) * width);
      const own = { ...grid, scales: part(grid.scales, groups), offsets: part(grid.offsets, groups) };
      const problem = {
        rows,
        columns,
        grid: own,
        weights: part(weights, columns),
        codes: new Uint8Array(rows * columns),
      };
      kernels.gptqOnGrid({ ...problem, factor, solveOrder });
      kernels.descendOnGrid({ ...problem, hessian, rounds: 3 });
      return problem.codes;
    };
    expect([...solve(0, 2), ...solve(2, 5)]).toEqual([...solve(0, 7)]);
  });
});
