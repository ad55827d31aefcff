import { RecipeSchema } from '../spec';
import { joinRows, type LinearToQuantize, quantizeLinear, quantizeRowRange, type SolvedRows } from './quantize-linear';
import { parseSolvedRows, serializeSolvedRows } from './serialize-solved-rows';

const [rows, columns] = [96, 64];
/** Numbers between -1 and 1 with nothing random about them. */
const wave = (i: number) => Math.sin(1 + i * 0.7391) * Math.cos(i * 0.113);
const weight = Float32Array.from({ length: rows * columns }, (_, i) => wave(i));
const inputs = Array.from({ length: 200 }, (_, t) =>
  Float64Array.from({ length: columns }, (_, i) => wave(31 * t + i * i)),
);
const hessian = Float64Array.from({ length: columns ** 2 }, (_, at) =>
  inputs.reduce((sum, x) => sum + (x[Math.floor(at / columns)] as number) * (x[at % columns] as number), 0),
);

it.each([{ actOrder: 'static' }, { actOrder: 'dynamic' }, { actOrder: 'none' }, { learnedRounding: 20 }])(
  'rows solved in parts, kept as bytes and joined are the linear that is solved whole (%j)',
  async (steps) => {
    const recipe = RecipeSchema.parse({ bits: 3, groupSize: 32, refinements: 2, ...steps });
    const options: LinearToQuantize = { weight, rows, columns, hessian, recipe, minimumZero: 1 };
    const parts: SolvedRows[] = [];
    for (const [first, count] of [
      [0, 7],
      [7, 0],
      [7, 60],
      [67, 29],
    ] as const) {
      parts.push(parseSolvedRows(serializeSolvedRows(await quantizeRowRange(options, { first, count }))));
    }
    expect(joinRows(options, parts)).toEqual(await quantizeLinear(options));
    expect(() => joinRows(options, parts.slice(1))).toThrow(RangeError);
  },
);

it('bytes that end within an array are refused', async () => {
  const recipe = RecipeSchema.parse({ method: 'rtn', groupSize: 32 });
  const options: LinearToQuantize = { weight, rows, columns, hessian: null, recipe, minimumZero: 1 };
  const bytes = serializeSolvedRows(await quantizeRowRange(options, { first: 0, count: 4 }));
  expect(() => parseSolvedRows(bytes.subarray(0, bytes.length - 1))).toThrow(/Solved rows end at byte/);
});
