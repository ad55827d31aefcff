import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyModelDirectory } from '../../test/tiny-models';
import { parseManifest, readImportance } from '../checkpoints';
import { readGgufHeader } from '../checkpoints/gguf';
import { planModel } from '../planning';
import { packageRoot } from '../sources';
import { parseQuantizationSpec, type QuantizationSpecInput } from '../spec';
import { openDirectModel } from './direct-model';
import { importanceOfModel } from './importance-of-model';
import { quantizeDirect } from './quantize-direct';

// Written by gguf-py from what transformers computes (test/oracles/importance.py).
const FIXTURES = join(packageRoot(), 'engine/checkpoints/gguf/importance/fixtures');
const [SEQUENCES, LENGTH] = [4, 64];

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-importance-of-'));
});
afterAll(() => rm(directory, { recursive: true }));

const demo = (changes: Partial<QuantizationSpecInput>): QuantizationSpecInput => ({
  ...{ model: 'demo', output: join(directory, 'out') },
  // Means over a power of two: as sums they lose no bit.
  calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
  ...changes,
});

test.each([
  'demo',
  'gpt2-tied',
  'phi3-grouped',
  'gemma2-grouped',
  'mixtral-grouped',
  'qwen2moe-shared',
  'qwen3moe-grouped',
] as const)('%s: every entry has the sums and counts of transformers', async (name) => {
  const spec = parseQuantizationSpec({
    ...demo({ model: name === 'demo' ? 'demo' : tinyModelDirectory(name), importanceOnly: true }),
    calibration: { samples: SEQUENCES, sequenceLength: LENGTH, sliceTokens: 128, precision: 'float32' },
  });
  const { plan, estimate } = await planModel(spec);
  expect(estimate.refusals).toEqual([]);
  const model = openDirectModel(plan, spec, { threads: 2 });
  const words = plan.config.vocab_size as number;
  const embedded = plan.slices.map(({ firstSequence, sequences }) =>
    model.embed(
      Int32Array.from({ length: sequences * LENGTH }, (_, i) => ((firstSequence * LENGTH + i) * 37) % words),
      LENGTH,
    ),
  );
  const { entries } = await importanceOfModel(model, plan, spec, await Promise.all(embedded));
  const expected = (await readImportance(join(FIXTURES, `${name}.gguf`))).entries;
  expect([...entries.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [weight, { columns, sums, counts }] of expected) {
    const found = entries.get(weight);
    expect([weight, found?.columns, found?.counts]).toEqual([weight, columns, counts]);
    const largest = Math.max(...sums);
    sums.forEach((sum, i) => {
      expect(Math.abs((found?.sums[i] as number) - sum) / largest).toBeLessThan(1e-4);
    });
  }
});

test.each([
  ['demo', 'gguf:q3_k_m'],
  ['qwen2moe-shared', 'gguf:q4_0'],
] as const)(
  '%s: blocks weighted by the file are those of the job that calibrates, bit for bit',
  async (name, format) => {
    const of = (changes: Partial<QuantizationSpecInput>) =>
      demo({ ...(name !== 'demo' && { model: tinyModelDirectory(name) }), ...changes });
    const path = join(directory, `${name}.gguf`);
    const { imatrix } = await quantizeDirect(of({ output: path, importanceOnly: true }));
    const file = await readImportance(imatrix as string);
    expect(file).toMatchObject({ datasets: ['demo'], chunks: 8, chunkTokens: 64 });

    const searched = of({ recipe: { method: 'kquants' }, formats: [format], order: 'independent' });
    const calibrated = await quantizeDirect({ ...searched, output: join(directory, `${name}-calibrated`) });
    const weighed = await quantizeDirect({ ...searched, output: join(directory, `${name}-weighed`), imatrix });
    const digests = async (outputs: Record<string, string>) => {
      const { linears } = parseManifest(await readFile(join(outputs[format] as string, 'quantloom.json'), 'utf8'));
      return Object.entries(linears).map(([linear, { weightSha256 }]) => [linear, weightSha256]);
    };
    expect(await digests(weighed)).toEqual(await digests(calibrated));
    const plain = { ...searched, output: join(directory, `${name}-plain`) };
    const unweighted = await quantizeDirect({ ...plain, recipe: { method: 'kquants', importance: 'none' } });
    expect(await digests(unweighted)).not.toEqual(await digests(calibrated));
    const entries = async (outputs: Record<string, string>) =>
      (await readGgufHeader(join(outputs[format] as string, 'model.gguf'))).metadata.get(
        'quantize.imatrix.entries_count',
      );
    // The experts of a layer have one.
    expect(await entries(calibrated)).toEqual({ type: 'uint32', value: file.entries.size });
    expect(await entries(weighed)).toEqual(await entries(calibrated));
  },
);

test('what cannot be, or would be of another model, is refused', async () => {
  const refusals = async (changes: Partial<QuantizationSpecInput>) =>
    (await planModel(parseQuantizationSpec(demo({ importanceOnly: true, ...changes })))).estimate.refusals
      .map(({ message }) => message)
      .join();
  expect(await refusals({})).toBe('');
  expect(await refusals({ rotation: 'hadamard' })).toContain('An importance matrix is of the model as it is');
  expect(await refusals({ model: tinyModelDirectory('opt-tied') })).toContain('llama.cpp has no name for');
  expect(await refusals({ output: directory, overwrite: true })).toContain('is a directory. Name a file.');
});
