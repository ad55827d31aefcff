import { findScales } from './find-scale';
import { outputEnergy } from './output-energy';
import { refine } from './refine';
import { roundToNearest } from './round-to-nearest';

const [rows, columns, groupSize, groups] = [11, 150, 100, 2];
const weights = Float64Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i));
const hessian = Float64Array.from({ length: columns * columns }, (_, at) => {
  const [i, j] = [Math.floor(at / columns), at % columns];
  return 0.95 ** Math.abs(i - j);
});

function rounded() {
  const scales = new Float32Array(rows * groups);
  const zeros = new Uint8Array(rows * groups);
  const codes = new Uint8Array(rows * columns);
  const grid = { levels: 7, symmetric: false, minimumZero: 0 };
  const importance = new Float64Array(columns).fill(1);
  const sums = {
    errorsBefore: new Float64Array(rows),
    errors: new Float64Array(rows),
    energies: new Float64Array(rows),
  };
  const problem = { weights, rows, columns, groupSize, grid, scales, zeros, codes, hessian, rounds: 4, ...sums };
  findScales({ ...problem, importance, search: false });
  roundToNearest(problem);
  return problem;
}

function difference({ codes, zeros, scales }: ReturnType<typeof rounded>): Float64Array {
  return weights.map((w, at) => {
    const group = Math.floor(at / columns) * groups + Math.floor((at % columns) / groupSize);
    return w - ((codes[at] as number) - (zeros[group] as number)) * (scales[group] as number);
  });
}

test('the errors that are kept up to date along the way are those of the codes and scales that come out', () => {
  const problem = rounded();
  const before = outputEnergy(difference(problem), hessian, rows, columns);
  refine(problem);
  const after = outputEnergy(difference(problem), hessian, rows, columns);
  const energies = outputEnergy(weights, hessian, rows, columns);
  for (let row = 0; row < rows; row++) {
    expect(problem.errorsBefore[row]).toBeCloseTo(before[row] as number, 10);
    expect(problem.errors[row]).toBeCloseTo(after[row] as number, 10);
    expect(problem.energies[row]).toBeCloseTo(energies[row] as number, 10);
    expect(after[row]).toBeLessThan(before[row] as number);
  }
});

test('less memory, the same bits', () => {
  const all = rounded();
  const few = rounded();
  refine(all);
  refine(few, 0);
  expect(few).toEqual(all);
});

test('at the end no single code can be moved for the better', () => {
  const problem = { ...rounded(), rounds: 100 };
  refine(problem);
  const d = difference(problem);
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < columns; c++) {
      const group = row * groups + Math.floor(c / groupSize);
      let gradient = 0;
      for (let i = 0; i < columns; i++)
        gradient += (d[row * columns + i] as number) * (hessian[i * columns + c] as number);
      for (const move of [-1, 1]) {
        const code = (problem.codes[row * columns + c] as number) + move;
        if (code < 0 || code > 7) continue;
        // (d - m)ᵀ H (d - m) - dᵀ H d for a change m of one weight, with H_cc = 1
        const change = move * (problem.scales[group] as number);
        expect(change * change - 2 * change * gradient).toBeGreaterThan(-1e-9);
      }
    }
  }
});
