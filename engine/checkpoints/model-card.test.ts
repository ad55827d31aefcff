import { type BlockReport, type LinearReport, parseQuantizationSpec, RecipeSchema } from '../spec';
import { createManifest, type ManifestInput } from './create-manifest';
import { modelCard } from './model-card';

const SHA = 'cd'.repeat(32);
const LINEAR = { rows: 64, columns: 64, weightSha256: null };

function card(fields: Partial<ManifestInput> = {}, licence?: string): string {
  const manifest = createManifest({
    quantloom: '0.1.0',
    format: 'gptq',
    layout: 'gptq',
    source: { architecture: 'llama', configSha256: SHA, files: [] },
    spec: parseQuantizationSpec({ model: '/models/tiny', output: '/out' }),
    linears: {
      'model.layers.0.mlp.up_proj': { ...LINEAR, recipe: RecipeSchema.parse({ groupSize: 64 }) },
      'model.layers.1.mlp.up_proj': { ...LINEAR, recipe: RecipeSchema.parse({ groupSize: 64 }) },
      'model.layers.0.mlp.down_proj': { ...LINEAR, recipe: null },
    },
    calibration: null,
    reports: [],
    bitsPerWeight: 4.4375,
    perplexity: null,
    versions: {},
    files: [],
    run: { job: null, started: '2026-01-01T00:00:00Z', seconds: 1, computed: 1, cached: 0 },
    ...fields,
  });
  return modelCard({ manifest, sourceWeightBytes: 2_000_000, weightBytes: 500_000, licence });
}

it('begins with the front matter that the hub reads', () => {
  expect(card({}, 'apache-2.0').split('---')[1]?.trim().split('\n')).toEqual([
    'base_model: "tiny"',
    'base_model_relation: quantized',
    'quantized_by: quantloom',
    'pipeline_tag: text-generation',
    'license: apache-2.0',
    'tags:',
    '- quantloom',
    '- gptq',
    '- llama',
    '- 4-bit',
  ]);
});

it('shows the recipe and the sizes', () => {
  const text = card();
  expect(text).toContain('| 2 (`mlp.up_proj`) | gptq | 4 | 64 | yes | static | search | 3 |');
  expect(text).toContain('| 1 (`mlp.down_proj`) | kept | 16 | - | - | - | - | - |');
  expect(text).toContain('- weight files: 500 kB (source: 2 MB; 25.0 %)');
  expect(text).toContain('- 4.438 bits per quantized weight');
});

it('names the experts of all layers once', () => {
  const linear = { ...LINEAR, recipe: RecipeSchema.parse({ groupSize: 64 }) };
  const names = [0, 1].flatMap((layer) =>
    [0, 1, 12].map((expert) => `model.layers.${layer}.mlp.experts.${expert}.up_proj`),
  );
  expect(card({ linears: Object.fromEntries(names.map((name) => [name, linear])) })).toContain(
    '| 6 (`mlp.experts.*.up_proj`) | gptq |',
  );
});

it('shows what every step gained, block by block', () => {
  const report = (before: number, relativeErrorAfter: LinearReport['relativeErrorAfter']): LinearReport => ({
    ...{
      name: 'linear',
      rows: 64,
      columns: 64,
      recipe: RecipeSchema.parse({}),
      relativeWeightError: 0,
      relativeError: 0,
    },
    ...{ relativeErrorBeforeRefinement: before, relativeErrorAfter, rung: 'as-asked', damping: 0.01, deadColumns: 0 },
  });
  const block = (index: number, linears: readonly LinearReport[]): BlockReport => ({
    ...{ index, name: `model.layers.${index}`, linears, calibrationTokens: 1, nonFiniteSequences: 0 },
    ...{ seconds: {}, computed: 1, cached: 0, skipped: false },
  });
  const reports = [
    block(0, [report(0.02, { refinements: 0.01, groupRounds: 0.005 }), report(0.04, { refinements: 0.03 })]),
    block(1, [report(0.01, { refinements: 0.004, groupRounds: 0.0005 })]),
    block(2, []),
  ];
  const text = card({ reports });
  expect(text).toContain('| block | GPTQ | refined | groups solved again |\n|---|---|---|---|');
  expect(text).toContain('| `model.layers.0` | 3.00 % | 2.00 % | 1.75 % |');
  expect(text).toContain('| `model.layers.1` | 1.00 % | 0.400 % | 0.0500 % |');
  expect(text).toContain('| mean | 2.00 % | 1.20 % | 0.900 % |');
  expect(text).not.toContain('`model.layers.2`');
  expect(card({ reports: [block(0, [report(0.02, {})])] })).toContain('| block | GPTQ |\n|---|---|');
  const learned = [block(0, [report(0.02, { learnedRounding: 0.018, refinements: 0.01 })])];
  expect(card({ reports: learned })).toContain('| block | GPTQ | rounding learned | refined |\n|---|---|---|---|');
});

it('says which average width the linears were chosen for', () => {
  const recipe = (bits: 2 | 4) => RecipeSchema.parse({ bits });
  const linears = { up: { ...LINEAR, rows: 192, recipe: recipe(4) }, down: { ...LINEAR, recipe: recipe(2) } };
  const text = card({ spec: parseQuantizationSpec({ model: '/m', output: '/o', averageBits: 3.55 }), linears });
  expect(text).toContain('- 3.500 bits per code on average, chosen for each linear by its error (asked for: 3.55)');
  expect(card()).not.toContain('on average');
});

it('says nothing about what was not measured', () => {
  const text = card();
  expect(text).not.toContain('Perplexity');
  expect(text).not.toContain('Calibration');
  expect(text).not.toContain('license');
});

it('shows the perplexities that were measured', () => {
  const perplexity = { original: null, quantized: 26.6512, textSha256: SHA, context: 512, scoredTokens: 16352 };
  const text = card({ perplexity });
  expect(text).toContain('| this checkpoint | 26.6512 |');
  expect(text).not.toContain('| source |');
  expect(card({ perplexity: { ...perplexity, original: 24.94 } })).toContain('| source | 24.9400 |');
});

it('ends with the command that makes it again, with a spec that is valid', () => {
  const text = card();
  expect(text).toContain('quantloom quantize tiny --spec spec.json --out tiny-gptq');
  const json = /<<'END'\n([\s\S]*?)\nEND/.exec(text)?.[1] as string;
  const spec = parseQuantizationSpec({ ...JSON.parse(json), model: '/models/tiny', output: '/out' });
  expect(spec).toEqual(parseQuantizationSpec({ model: '/models/tiny', output: '/out' }));
});

it('holds no path of the machine that wrote it', () => {
  expect(card()).not.toMatch(/\/models|\/out/);
});

it.each([
  ['planar', { layout: 'gptq_p' }, 'transformers cannot load the planar layout'],
  [
    'mixed',
    {
      linears: {
        a: { ...LINEAR, recipe: RecipeSchema.parse({}) },
        b: { ...LINEAR, recipe: RecipeSchema.parse({ bits: 8 }) },
      },
    },
    'transformers cannot load settings that differ between modules',
  ],
  [
    'with a quantized head',
    { linears: { lm_head: { ...LINEAR, recipe: RecipeSchema.parse({}) } } },
    'a quantized head',
  ],
  [
    'tail groups',
    { linears: { a: { ...LINEAR, columns: 96, recipe: RecipeSchema.parse({ groupSize: 64 }) } } },
    'vLLM cannot load a group size that does not divide the columns',
  ],
  [
    'v1 asymmetric',
    { linears: { a: { ...LINEAR, recipe: RecipeSchema.parse({ symmetric: false }) } } },
    'GPTQModel refuses asymmetric files',
  ],
] as const)('says who cannot load it: %s', (_, fields, message) => {
  expect(card(fields as Partial<ManifestInput>)).toContain(message);
});
