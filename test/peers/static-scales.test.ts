import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { encodeDocuments, loadTokenizer, readCalibrationText, sampleSequences } from '../../engine/calibration';
import { verifyCheckpoint } from '../../engine/checkpoints';
import { roundToBfloat16 } from '../../engine/numbers';
import type { QuantizationSpecInput } from '../../engine/spec';
import { dequantizedCheckpoint } from './dequantized-checkpoint';

// Compiled: its loops run in worker threads then.
const { quantizeDirect, openCheckpoint, perplexity } = require('../../dist/engine') as typeof import('../../engine');

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python that has torch, transformers and llmcompressor in QUANTLOOM_PEERS_PYTHON');
const MODEL = join(__dirname, '..', '..', 'assets', 'demo-model');
const SET = { samples: 8, sequenceLength: 128, seed: 0 };
const CONTEXT = 128;
const TOKENS = Int32Array.from({ length: 512 }, (_, index) => (index * 37 + 11) % 1000);
/** Inputs that lie at the border of two codes are rounded either way: products are summed in another order. */
const SAME_PERPLEXITY = 2e-3;
/** The largest input is a float32 sum, and not every CPU adds in one order. */
const SAME_SCALE = 1e-6;

const run = async (script: string, ...words: string[]) => {
  const { stdout } = await promisify(execFile)(PYTHON, [join(__dirname, script), ...words], { maxBuffer: 1 << 26 });
  return stdout;
};

describe('checkpoints of llm-compressor whose inputs have scales from a calibration set', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
    const { documents } = await readCalibrationText('demo');
    const tokens = sampleSequences(await encodeDocuments(await loadTokenizer(MODEL), documents), SET);
    const sequences = Array.from({ length: SET.samples }, (_, i) => [
      ...tokens.subarray(i * SET.sequenceLength, (i + 1) * SET.sequenceLength),
    ]);
    await writeFile(join(directory, 'sequences.json'), JSON.stringify(sequences));
    await writeFile(join(directory, 'tokens.json'), JSON.stringify([...TOKENS]));
  }, 60_000);

  afterAll(() => rm(directory, { recursive: true, force: true }));

  it.each([
    ['FP8', { floatType: 'fp8-tensor', activations: 'fp8-static' }, 'input_scale', roundToBfloat16],
    ['NVFP4', { floatType: 'nvfp4', activations: 'nvfp4' }, 'input_global_scale', (scale: number) => scale],
  ] as const)(
    '%s: read with the perplexity that compressed-tensors gives, and the same scales as ours',
    async (scheme, recipe, part, stored) => {
      const theirs = join(directory, scheme);
      await run('static-scales.py', MODEL, theirs, scheme, join(directory, 'sequences.json'));
      const dense = await dequantizedCheckpoint(theirs);
      const found = JSON.parse(
        (await run('rounded-inputs.py', theirs, dense, join(directory, 'tokens.json'), String(CONTEXT)))
          .trim()
          .split('\n')
          .at(-1) as string,
      ) as { weights: Record<string, string>; perplexity: number; perplexityOfWeights: number };
      expect(await verifyCheckpoint(theirs)).toMatchObject({ kind: 'compressed-tensors', passed: true });
      const checkpoint = await openCheckpoint(theirs);
      const own = await perplexity({ checkpoint, tokens: TOKENS, context: CONTEXT, threads: 2 });
      expect(Math.abs(found.perplexity / own.perplexity - 1)).toBeLessThan(SAME_PERPLEXITY);
      expect(found.perplexity).not.toBe(found.perplexityOfWeights);

      // They calibrate with weights as they are, and in float32 here.
      const ours = join(directory, `${scheme}-ours`);
      const spec: QuantizationSpecInput = {
        model: MODEL,
        output: ours,
        recipe: { method: 'rtn', ...recipe },
        formats: ['compressed-tensors'],
        order: 'independent',
        calibration: { source: 'demo', ...SET, precision: 'float32' },
      };
      await quantizeDirect(spec);
      const written = await openCheckpoint(ours);
      const scaleOf = async (reader: typeof written, module: string) =>
        (await reader.float(`${module}.${part}`)).data[0] as number;
      for (const module of Object.keys(found.weights)) {
        const scale = stored(await scaleOf(checkpoint, module));
        const ratio = (await scaleOf(written, module)) / scale;
        expect([module, Math.abs(ratio - 1) < SAME_SCALE]).toEqual([module, true]);
      }
      expect(Object.keys(found.weights).length).toBeGreaterThan(20);
    },
    1_800_000,
  );
});
