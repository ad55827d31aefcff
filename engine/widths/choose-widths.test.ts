import { type BlockPlan, type LinearPlan, parseQuantizationSpec, type Recipe, type WidthErrors } from '../spec';
import { averageOfOpen, chooseWidths, openWidths, withWidths } from './choose-widths';

const parsed = parseQuantizationSpec({ model: 'm', output: 'o' });
const { recipe } = parsed;

function linear(name: string, rows: number, changes: Partial<Recipe> = {}): LinearPlan {
  return { name, rows, columns: 64, bias: false, recipe: { ...recipe, ...changes } };
}

const stage = (name: string, linears: readonly LinearPlan[]) => ({ stage: name, linears });
const BLOCKS: readonly BlockPlan[] = [
  {
    index: 0,
    name: 'model.layers.0',
    tensors: [],
    stages: [
      stage('attention-input', [linear('q', 128), linear('k', 64), linear('v', 64)]),
      stage('attention', [linear('o', 128, { bits: 8 })]),
      stage('mlp', [linear('down', 256), { ...linear('kept', 64), recipe: null }]),
    ],
  },
];
const overrides = [
  { match: 'o', bits: 8 as const },
  { match: 'down', groupSize: 32 as const },
];
const spec = { overrides, averageBits: 4, mixedWidths: [4, 2, 3] as Recipe['bits'][] };

/** Error at 2, 3 and 4 bits. */
function errors(name: string, [two, three, four]: readonly [number, number, number]): WidthErrors {
  const choices = [
    { bits: 2 as const, error: two },
    { bits: 3 as const, error: three },
    { bits: 4 as const, error: four },
  ];
  return { name, weights: 0, errors: choices };
}

describe('widths for an average', () => {
  it('are open where a linear is quantized and no override gives its bits', () => {
    const { groups, fixed } = openWidths(BLOCKS, spec);
    expect(groups.map((group) => group.map(({ name }) => name))).toEqual([['q', 'k', 'v'], ['down']]);
    expect(fixed.map(({ name }) => name)).toEqual(['o']);
    // 640 rows may have 4 bits each; 128 of them have 8, which leaves 1536 for 512.
    expect(averageOfOpen({ groups, fixed }, 4)).toBe(3);
  });

  it('are equal for linears that share an input, and largest where bits help most', () => {
    const measured = [
      errors('q', [0.2, 0.1, 0.05]),
      errors('k', [0.2, 0.1, 0.05]),
      errors('v', [0.9, 0.2, 0.05]),
      errors('down', [0.2, 0.15, 0.1]),
    ];
    const chosen = chooseWidths(BLOCKS, spec, measured);
    expect(chosen.bits).toEqual({ q: 4, k: 4, v: 4, down: 2 });
    expect(chosen.averageBits).toBe(4);
    const recipes = withWidths(BLOCKS, chosen, parsed)[0]?.stages.flatMap(({ linears }) =>
      linears.map((one) => one.recipe?.bits),
    );
    expect(recipes).toEqual([4, 4, 4, 8, 2, undefined]);
  });
});
