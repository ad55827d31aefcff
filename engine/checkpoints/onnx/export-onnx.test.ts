import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openOnnxDecoder } from '../../../test/support/onnx-decoder';
import { relativeDifference } from '../../../test/tiny-models';
import { decodeFloats, int32View } from '../../numbers';
import type { Tensor } from '../../spec';
import { openCheckpoint } from '../open-checkpoint';
import { parseSafetensors } from '../safetensors';
import { exportOnnx } from './export-onnx';

/** Of the spread of the logits. Both sides compute in float32 and add in orders of their own. */
const TOLERANCE = 1e-5;
const VOCABULARY = 96;

/** Random models with what transformers computes from them, written by test/oracles/onnx-llamas.py. */
const MODELS = ['untied-bfloat16', 'tied-float16'] as const;

function directoryOf(name: (typeof MODELS)[number]): string {
  return join(__dirname, 'fixtures', name);
}

function readGolden(name: (typeof MODELS)[number]) {
  const { tensors } = parseSafetensors(readFileSync(join(directoryOf(name), 'golden.safetensors')));
  const tensor = (key: string) => tensors.get(key) as Tensor;
  return {
    floats: (key: string) => decodeFloats(tensor(key)),
    integers: (key: string) => [...int32View(tensor(key).data)],
  };
}

describe('a decoder in ONNX', () => {
  let scratch: string;

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'quantloom-onnx-'));
  });

  afterAll(() => rm(scratch, { recursive: true, force: true }));

  describe.each(MODELS)('%s', (name) => {
    const golden = readGolden(name);
    let model: string;

    beforeAll(async () => {
      const from = await openCheckpoint(directoryOf(name));
      ({ model } = await exportOnnx({ from, to: join(scratch, name) }));
    });

    it('has the logits of transformers, for sequences side by side', async () => {
      const tokens = golden.integers('tokens');
      const decoder = await openOnnxDecoder(model);
      const logits = await decoder.advance([tokens.slice(0, 24), tokens.slice(24)]);
      await decoder.close();
      expect(relativeDifference(logits, golden.floats('logits'))).toBeLessThan(TOLERANCE);
    });

    it('has them for sequences of several lengths, padded on the right', async () => {
      const tokens = golden.integers('tokens');
      const decoder = await openOnnxDecoder(model);
      const logits = await decoder.advance([tokens.slice(0, 24), tokens.slice(24)], [24, 17]);
      await decoder.close();
      const seen = (24 + 17) * VOCABULARY;
      expect(relativeDifference(logits.slice(0, seen), golden.floats('logits').slice(0, seen))).toBeLessThan(TOLERANCE);
    });

    it('has them with a cache: a long prompt in parts, then token by token', async () => {
      const tokens = golden.integers('long_tokens');
      const decoder = await openOnnxDecoder(model);
      const logits: number[] = [];
      const ends = [150, 190, ...Array.from({ length: 10 }, (_, i) => 191 + i)];
      for (const [part, end] of ends.entries()) {
        logits.push(...(await decoder.advance([tokens.slice(ends[part - 1] ?? 0, end)])));
      }
      await decoder.close();
      expect(relativeDifference(Float32Array.from(logits), golden.floats('long_logits'))).toBeLessThan(TOLERANCE);
    });

    it('continues greedily as transformers does', async () => {
      const decoder = await openOnnxDecoder(model);
      const generated: number[] = [];
      let next = golden.integers('prompt');
      while (generated.length < 12) {
        const last = (await decoder.advance([next])).slice(-VOCABULARY);
        next = [last.indexOf(Math.max(...last))];
        generated.push(...next);
      }
      await decoder.close();
      expect(generated).toEqual(golden.integers('generated'));
    });
  });

  it('has the same logits from several data files, none longer than its limit', async () => {
    const from = await openCheckpoint(directoryOf('untied-bfloat16'));
    const limit = 20_000;
    const written = await exportOnnx({ from, to: join(scratch, 'split'), dataFileLimitBytes: limit });
    const names = await readdir(join(scratch, 'split', 'onnx'));
    expect(names.sort()).toEqual(
      ['model.onnx', ...written.data.map((_, i) => `model.onnx_data${i === 0 ? '' : `_${i}`}`)].sort(),
    );
    expect(written.data.length).toBeGreaterThan(3);
    const config = JSON.parse(await readFile(join(scratch, 'split', 'config.json'), 'utf8'));
    expect(config['transformers.js_config']).toEqual({ dtype: 'fp32', use_external_data_format: written.data.length });
    const sizes = await Promise.all(written.data.map(async (path) => (await stat(path)).size));
    expect(sizes.filter((size) => size > limit).length).toBe(0);
    const golden = readGolden('untied-bfloat16');
    const tokens = golden.integers('tokens');
    const decoder = await openOnnxDecoder(written.model);
    const logits = await decoder.advance([tokens.slice(0, 24), tokens.slice(24)]);
    await decoder.close();
    expect(relativeDifference(logits, golden.floats('logits'))).toBeLessThan(TOLERANCE);
  });

  it('leaves what stands there, unless it may be replaced', async () => {
    const to = join(scratch, 'taken');
    await mkdir(to);
    await writeFile(join(to, 'mine'), 'text');
    const from = await openCheckpoint(directoryOf('untied-bfloat16'));
    await expect(exportOnnx({ from, to })).rejects.toMatchObject({ code: 'OutputExists' });
    expect(await readdir(to)).toEqual(['mine']);
    await exportOnnx({ from, to, overwrite: true });
    expect((await readdir(to)).sort()).toEqual(['config.json', 'genai_config.json', 'onnx']);
  });

  it('refuses heads that attention of onnxruntime does not take', async () => {
    const from = await openCheckpoint(directoryOf('untied-bfloat16'));
    const config = { ...from.config, head_dim: 8 };
    await expect(exportOnnx({ from: { ...from, config }, to: join(scratch, 'small-heads') })).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringMatching(/heads have 8 features.*multiple of 16/),
    });
  });

  it('writes nothing of an architecture that it does not know', async () => {
    const from = await openCheckpoint(directoryOf('untied-bfloat16'));
    const to = join(scratch, 'unknown');
    const config = { ...from.config, architectures: ['MambaForCausalLM'] };
    await expect(exportOnnx({ from: { ...from, config }, to })).rejects.toMatchObject({
      code: 'UnsupportedArchitecture',
    });
    expect((await readdir(scratch)).filter((name) => name.includes('unknown'))).toEqual([]);
  });
});
