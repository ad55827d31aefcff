import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readImportance, writeImportance } from '../checkpoints';
import { packageRoot } from '../sources';
import { type ModelPlan, parseQuantizationSpec, type QuantizationSpecInput } from '../spec';
import { planModel } from './plan-model';

const MATRIX = join(packageRoot(), 'engine/checkpoints/gguf/importance/fixtures/demo.gguf');

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-plan-importance-'));
});
afterAll(() => rm(directory, { recursive: true }));

const planned = (changes: Partial<QuantizationSpecInput>) =>
  planModel(
    parseQuantizationSpec({
      ...{ model: 'demo', output: join(directory, 'out'), recipe: { method: 'kquants' }, imatrix: MATRIX },
      ...changes,
    }),
  );

const linearsOf = (plan: ModelPlan) => plan.blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears));

/** The fixture with other entries. */
async function written(name: string, keep: (name: string) => boolean, cut = 0): Promise<string> {
  const path = join(directory, name);
  const { entries, ...file } = await readImportance(MATRIX);
  const kept = [...entries].flatMap(([name, entry]) =>
    keep(name) ? [[name, { ...entry, columns: entry.columns - cut, sums: entry.sums.slice(cut) }] as const] : [],
  );
  await writeImportance(path, { ...file, entries: new Map(kept) });
  return path;
}

test('it takes the place of calibration: no text, no slices, and the types of a mix with importance', async () => {
  const { plan, estimate } = await planned({ calibration: { source: '/nowhere.txt' }, formats: ['gguf:q2_k_s'] });
  expect([estimate.refusals, estimate.warnings]).toEqual([[], []]);
  expect(plan.slices).toEqual([]);
  expect(plan.importance).toMatchObject({ file: MATRIX, datasets: ['fixed-tokens'], chunks: 4, entries: 28 });
  expect(new Set(linearsOf(plan).map(({ recipe }) => recipe?.importance))).toEqual(new Set(['file']));
  const calibrated = await planned({ imatrix: undefined, formats: ['gguf:q2_k_s'] });
  const types = (of: ModelPlan) => linearsOf(of).map(({ recipe }) => recipe?.blockType);
  expect(types(plan)).toEqual(types(calibrated.plan));
});

test('a linear without an entry is searched without importance, and that is said', async () => {
  const imatrix = await written('some.gguf', (name) => !/blk\.2\.ffn/.test(name));
  const { plan, estimate } = await planned({ imatrix });
  expect(estimate.refusals).toEqual([]);
  expect(estimate.warnings.join()).toContain(
    'some.gguf has nothing on model.layers.2.mlp.gate_proj, model.layers.2.mlp.up_proj and model.layers.2.mlp.down_proj: there all columns count alike',
  );
  const unweighted = linearsOf(plan).filter(({ recipe }) => recipe?.importance === 'none');
  expect(unweighted.map(({ name }) => name)).toEqual(
    ['gate', 'up', 'down'].map((part) => `model.layers.2.mlp.${part}_proj`),
  );
});

test.each<[string, () => Promise<Partial<QuantizationSpecInput>>, string]>([
  [
    'entries of other widths',
    async () => ({ imatrix: await written('wide.gguf', () => true, 3) }),
    'is of another model',
  ],
  [
    'no entry',
    async () => ({
      imatrix: await written('other.gguf', (name) => /\.1\./.test(name)),
      overrides: [{ match: 'model.layers.1.*', skip: true }],
    }),
    'has no entry for any linear',
  ],
  [
    'a method that calibrates',
    async () => ({ recipe: { method: 'gptq' }, formats: ['gguf'] }),
    'No linear takes its importance from a file',
  ],
  ['a rotation', async () => ({ rotation: 'hadamard' }), 'Leave rotation, scaling and averageBits out'],
  [
    'importance of no file',
    async () => ({ imatrix: undefined, recipe: { method: 'kquants', importance: 'file' } }),
    'importance is file, and no file is named',
  ],
  [
    'rounding to nearest',
    async () => ({ recipe: { method: 'rtn', importance: 'file' }, formats: ['gguf'] }),
    'the method rtn takes no importance from a file',
  ],
  ['a file that is not there', async () => ({ imatrix: join(directory, 'none') }), 'none cannot be read'],
])('refused: %s', async (_, changes, message) => {
  const { estimate } = await planned(await changes());
  expect(estimate.refusals.map((refusal) => refusal.message).join('\n')).toContain(message);
});
