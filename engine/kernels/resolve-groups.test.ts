import { outputEnergy } from './output-energy';
import { refine } from './refine';

const columns = 8;
/** 2 bits hold these without loss, but only with a zero point of 0: codes 1 2 3 0 3 1 2 0, scale 1/8. */
const weights = Float64Array.of(0.125, 0.25, 0.375, 0, 0.375, 0.125, 0.25, 0);
const hessian = Float64Array.from(
  { length: columns * columns },
  (_, at) => 0.8 ** Math.abs(Math.floor(at / columns) - (at % columns)),
);

/** Rounded to nearest with a zero point of 1, so that 3/8 is out of reach. */
function misplaced() {
  const sums = { errorsBefore: new Float64Array(1), errors: new Float64Array(1), energies: new Float64Array(1) };
  return {
    weights,
    rows: 1,
    columns,
    groupSize: columns,
    hessian,
    grid: { levels: 3, symmetric: false, minimumZero: 0 },
    scales: Float32Array.of(0.15625),
    zeros: Uint8Array.of(1),
    codes: Uint8Array.of(2, 3, 3, 1, 3, 2, 3, 1),
    rounds: 10,
    ...sums,
  };
}

test('a zero point that is off is found, where codes and scales alone stay stuck', () => {
  const stuck = misplaced();
  refine(stuck);
  expect(stuck.errors[0]).toBeGreaterThan(0.001);
  expect(stuck.zeros[0]).toBe(1);

  const solved = misplaced();
  refine({ ...solved, resolveGroups: true });
  expect(solved.errors[0]).toBeCloseTo(0, 12);
  expect([...solved.zeros, ...solved.scales, ...solved.codes]).toEqual([0, 0.125, 1, 2, 3, 0, 3, 1, 2, 0]);
});

test('with a smallest zero point of 1 it stays there, and the errors are those of what comes out', () => {
  const solved = misplaced();
  refine({ ...solved, grid: { levels: 3, symmetric: false, minimumZero: 1 }, resolveGroups: true });
  expect(solved.zeros[0]).toBe(1);
  const difference = weights.map((w, i) => w - ((solved.codes[i] as number) - 1) * (solved.scales[0] as number));
  expect(solved.errors[0]).toBeCloseTo(outputEnergy(difference, hessian, 1, columns)[0] as number, 12);
});

test('groups of more than 256 columns are left to codes and scales', () => {
  const wide = 300;
  const long = {
    ...misplaced(),
    weights: Float64Array.from({ length: wide }, (_, i) => Math.sin(i * i)),
    columns: wide,
    groupSize: wide,
    hessian: Float64Array.from({ length: wide * wide }, (_, at) => (at % (wide + 1) === 0 ? 1 : 0)),
    codes: new Uint8Array(wide).fill(2),
  };
  const plain = { ...long, codes: long.codes.slice(), scales: long.scales.slice(), zeros: long.zeros.slice() };
  refine(plain);
  refine({ ...long, resolveGroups: true });
  expect(long.codes).toEqual(plain.codes);
});
