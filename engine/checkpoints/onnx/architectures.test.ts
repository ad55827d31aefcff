import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutoModelForCausalLM, env, Tensor } from '@huggingface/transformers';
import { openOnnxDecoder } from '../../../test/support/onnx-decoder';
import { readGolden, relativeDifference, tinyModelDirectory } from '../../../test/tiny-models';
import { openCheckpoint } from '../open-checkpoint';
import { exportOnnx } from './export-onnx';

/** The other tiny models have heads that onnxruntime refuses. */
const MODELS = [
  'grouped',
  'mistral-grouped',
  'qwen2-grouped',
  'qwen3-grouped',
  'gemma2-grouped',
  'gemma3-grouped',
  'phi3-grouped',
  'mixtral-grouped',
  'qwen2moe-shared',
  'qwen3moe-grouped',
  'gpt2-tied',
  'gpt2-bare',
  'opt-tied',
  'opt-bare',
] as const;
/** transformers.js has no name for it. */
const UNNAMED = 'mixtral-grouped';

describe('ONNX of every architecture', () => {
  let scratch: string;

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'quantloom-onnx-'));
  });

  afterAll(() => rm(scratch, { recursive: true, force: true }));

  it.each(MODELS)('has the logits of transformers, at once and token by token: %s', async (name) => {
    const golden = readGolden(name);
    const tokens = [...golden.integers('tokens')];
    const { model } = await exportOnnx({
      from: await openCheckpoint(tinyModelDirectory(name)),
      to: join(scratch, name),
    });
    const expected = golden.floats('logits');
    const together = await openOnnxDecoder(model);
    const sequences = [tokens.slice(0, tokens.length / 2), tokens.slice(tokens.length / 2)];
    expect(relativeDifference(await together.advance(sequences), expected)).toBeLessThan(1e-5);
    await together.close();
    const oneByOne = await openOnnxDecoder(model);
    const logits: number[] = [];
    for (const token of sequences[0] as number[]) logits.push(...(await oneByOne.advance([[token]])));
    await oneByOne.close();
    expect(relativeDifference(Float32Array.from(logits), expected.slice(0, logits.length))).toBeLessThan(1e-5);
  });

  it('is refused where only a part of a head is turned', async () => {
    const from = await openCheckpoint(tinyModelDirectory('phi3-partial'));
    await expect(exportOnnx({ from, to: join(scratch, 'partial') })).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining('Positions turn 12 of the 16 features of a head'),
    });
  });

  it.each(MODELS.filter((name) => name !== UNNAMED))(
    'is continued greedily by transformers.js as by transformers: %s',
    async (name) => {
      const golden = readGolden(name);
      const prompt = golden.integers('prompt');
      const to = join(scratch, 'transformers.js', name);
      await mkdir(dirname(to), { recursive: true });
      await exportOnnx({ from: await openCheckpoint(tinyModelDirectory(name)), to });
      env.allowRemoteModels = false;
      env.localModelPath = dirname(to);
      const model = await AutoModelForCausalLM.from_pretrained(name);
      const dims = [1, prompt.length];
      const tokens = await model.generate({
        inputs: new Tensor('int64', BigInt64Array.from(prompt, BigInt), dims),
        attention_mask: new Tensor('int64', new BigInt64Array(prompt.length).fill(1n), dims),
        max_new_tokens: 12,
        do_sample: false,
      });
      await model.dispose();
      const found = (tokens as { tolist(): bigint[][] }).tolist()[0]?.map(Number);
      expect(found).toEqual([...prompt, ...golden.integers('generated')]);
    },
  );
});
