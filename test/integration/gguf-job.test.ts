import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import { readGgufHeader } from '../../engine/checkpoints/gguf';
import { perplexity } from '../../engine/evaluation';
import { bytesOf } from '../../engine/numbers';
import type { AffineLinear } from '../../engine/quantizers';
import { packageRoot } from '../../engine/sources';
import type { QuantizationSpecInput } from '../../engine/spec';
import { sha256 } from '../support/hub-server';
import { type JobStack, startJobStack } from '../support/job-stack';
import { mean, readFileByLlamaCpp } from '../support/read-by-llama-cpp';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

// llama.cpp rounds activations to 8 bits before it multiplies them with blocks.
const ROUNDED_ACTIVATIONS = 0.02;

// Written by gguf-py from what transformers computes (test/oracles/importance.py).
const IMPORTANCE = join(packageRoot(), 'engine/checkpoints/gguf/importance/fixtures/demo.gguf');

describe('a job that writes GPTQ and GGUF', () => {
  let stack: JobStack;
  let model: string;

  beforeAll(async () => {
    stack = await startJobStack();
    model = await shortDemo(stack.directory);
  }, 60_000);

  afterAll(() => stack.stop(), 60_000);

  const spec = (output: string, changes: Partial<QuantizationSpecInput> = {}): QuantizationSpecInput => ({
    model,
    output,
    recipe: { bits: 4, groupSize: 64, refinements: 1 },
    formats: ['gptq', 'gguf'],
    calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
    evaluation: { text: 'demo', context: 64, maxTokens: 512, original: false },
    ...changes,
  });

  it('has both from one calibration, with the same weights, and llama.cpp the likelihoods of them', async () => {
    const output = stack.output('both');
    const result = await stack.run(spec(output), 'both');
    const [gptq, gguf] = [join(output, 'gptq'), join(output, 'gguf')];
    expect(result.outputs).toEqual({ gptq, gguf });
    const solved = stack.log.filter(({ event, step }) => event === 'computed' && step === 'quantize-linears');
    expect(solved).toHaveLength(SHORT_LAYERS * 4);
    expect(await verifyCheckpoint(gguf)).toMatchObject({ kind: 'gguf', passed: true, hasManifest: true });

    const [ours, theirs] = [await openCheckpoint(gptq), await openCheckpoint(gguf)];
    expect(theirs.names()).toEqual(ours.names());
    for (const name of ours.names()) {
      const [a, b] = [await theirs.float(name), await ours.float(name)];
      expect([name, a.shape, Buffer.compare(bytesOf(a.data), bytesOf(b.data))]).toEqual([name, b.shape, 0]);
    }

    const found = await readFileByLlamaCpp(join(gguf, 'model.gguf'));
    const tokens = Int32Array.from(found.tokens);
    const { negativeLogLikelihood } = await perplexity({
      checkpoint: theirs,
      tokens,
      context: tokens.length,
      threads: 1,
    });
    const difference = Math.abs(mean(found.negativeLogLikelihoods) - negativeLogLikelihood);
    expect(difference).toBeLessThan(ROUNDED_ACTIVATIONS * negativeLogLikelihood);
  }, 300_000);

  it.each<[string, Partial<QuantizationSpecInput>]>([
    ['zero points', { recipe: { bits: 4, groupSize: 64, symmetric: false }, formats: ['gptq_v2', 'gguf'] }],
    ['8 bits, the head too', { recipe: { bits: 8, groupSize: -1 }, keepHead: false, formats: ['gguf'] }],
    [
      'a mix with GPTQ, another type for some',
      {
        recipe: { method: 'gptq', refinements: 1 },
        overrides: [{ match: '*.up_proj', blockType: 'IQ4_XS' }],
        formats: ['gguf:Q4_K_M'],
      },
    ],
    ['a mix by search, the head too', { recipe: { method: 'kquants' }, formats: ['gguf:q3_k'], keepHead: false }],
    [
      'a mix with an importance matrix',
      // Nothing is calibrated: the text is not there.
      {
        // It is one of four layers.
        ...{ model: 'demo', recipe: { method: 'kquants' }, imatrix: IMPORTANCE, formats: ['gguf:q2_k_s'] },
        calibration: { source: '/nowhere' },
      },
    ],
    ['a mix without calibration', { recipe: { method: 'kquants', importance: 'none' }, formats: ['gguf:q2_k'] }],
    ['rotated, with a skip', { rotation: 'hadamard', overrides: [{ match: 'model.layers.1.*', skip: true }] }],
  ])(
    'writes the bytes that the engine alone writes, verified, and llama.cpp reads them (%s)',
    async (what, changes) => {
      const id = what.replaceAll(/\W+/g, '-');
      const { evaluation: _, ...direct } = spec(stack.output(`direct-${id}`), changes);
      const outputs = (await stack.run(spec(stack.output(id), changes), id)).outputs;
      const directly = await quantizeDirect(direct);
      const name = Object.keys(outputs).find((format) => format.startsWith('gguf')) as string;
      const directory = outputs[name] as string;
      expect(await weightDigests(directory)).toEqual(await weightDigests(directly[name] as string));
      expect((await verifyCheckpoint(directory)).passed).toBe(true);

      if (changes.imatrix) {
        const { metadata } = await readGgufHeader(join(directory, 'model.gguf'));
        const said = ['file', 'dataset', 'entries_count', 'chunks_count'].map((key) => `quantize.imatrix.${key}`);
        expect(said.map((key) => metadata.get(key)?.value)).toEqual(['demo.gguf', 'fixed-tokens', 28, 4]);
        const { calibration, importance } = parseManifest(await readFile(join(directory, 'quantloom.json'), 'utf8'));
        expect(calibration).toBeNull();
        expect(importance).toMatchObject({ file: 'demo.gguf', sha256: sha256(await readFile(IMPORTANCE)) });
      }
      const checkpoint = await openCheckpoint(directory);
      const { recipe } = parseManifest(await readFile(join(directory, 'quantloom.json'), 'utf8')).spec;
      if (outputs.gptq_v2) {
        // A block holds the zero point as float16(-scale · zero): off by up to zero / 2048 steps.
        const other = await openCheckpoint(outputs.gptq_v2);
        for (const name of checkpoint.names().filter((tensor) => checkpoint.quantized(tensor))) {
          const meant = (await other.linear(name.replace(/\.weight$/, ''))) as AffineLinear;
          const [{ data: found }, { data: expected }] = [await checkpoint.float(name), await other.float(name)];
          const worst = expected.reduce((most, weight, i) => {
            const group = Math.floor(i / recipe.groupSize);
            const allowed = ((meant.scales[group] as number) * (meant.zeros[group] as number)) / 2048 + 2 ** -24;
            return Math.max(most, Math.abs((found[i] as number) - weight) / allowed);
          }, 0);
          expect(worst).toBeLessThanOrEqual(1);
        }
      }
      const read = await readFileByLlamaCpp(join(directory, 'model.gguf'));
      const tokens = Int32Array.from(read.tokens);
      const own = await perplexity({ checkpoint, tokens, context: tokens.length, threads: 1 });
      const difference = Math.abs(mean(read.negativeLogLikelihoods) - own.negativeLogLikelihood);
      expect(difference).toBeLessThan(ROUNDED_ACTIVATIONS * own.negativeLogLikelihood);
    },
    180_000,
  );

  it('is refused before it starts where a grid has no block type', async () => {
    const output = stack.output('refused');
    const recipe = { bits: 4, groupSize: 16 } as const;
    await expect(quantizeDirect({ ...spec(output, { recipe, evaluation: null }) })).rejects.toThrow(
      "Format gguf: its groups have 16 weights; GGUF's blocks need a multiple of 32",
    );
  });
});
