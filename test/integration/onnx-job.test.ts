import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, env } from '@huggingface/transformers';
import { encodeDocuments, loadTokenizer } from '../../engine/calibration';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { exportOnnx } from '../../engine/checkpoints/onnx';
import { generate, perplexity, readEvaluationText } from '../../engine/evaluation';
import type { QuantizationSpecInput } from '../../engine/spec';
import { type JobStack, startJobStack } from '../support/job-stack';
import { openOnnxDecoder } from '../support/onnx-decoder';
import { SHORT_LAYERS, shortDemo } from '../support/short-demo';
import { weightDigests } from '../support/weight-files';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

/** Of a perplexity: both sides compute with the same weights in float32, and add in orders of their own. */
const SAME_PERPLEXITY = 1e-5;
const CONTEXT = 64;
const PROMPT = 'The quick brown fox';
const NEW_TOKENS = 16;

describe('a job that writes ONNX', () => {
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
    formats: ['onnx'],
    calibration: { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 },
    ...changes,
  });

  it('writes GPTQ, GGUF and ONNX from one calibration, with the same weights', async () => {
    const output = stack.output('three');
    const evaluation = { text: 'demo', context: CONTEXT, maxTokens: 512, original: false };
    const result = await stack.run(spec(output, { formats: ['gptq', 'gguf', 'onnx'], evaluation }), 'three');
    const [gptq, gguf, onnx] = ['gptq', 'gguf', 'onnx'].map((format) => join(output, format)) as [
      string,
      string,
      string,
    ];
    expect(result.outputs).toEqual({ gptq, gguf, onnx });
    const solved = stack.log.filter(({ event, step }) => event === 'computed' && step === 'quantize-linears');
    expect(solved).toHaveLength(SHORT_LAYERS * 4);
    expect(await verifyCheckpoint(onnx)).toMatchObject({ kind: 'onnx', passed: true, hasManifest: true });

    const [ours, theirs] = [await openCheckpoint(gptq), await openCheckpoint(onnx)];
    expect(theirs.names()).toEqual(ours.names());
    for (const name of ours.names()) {
      const [found, expected] = [await theirs.float(name), await ours.float(name)];
      // What is kept is float16 here and bfloat16 there: float16 has steps of 2^-24 at its lower end.
      const error = ours.quantized(name) ? 0 : 2 ** -25;
      const worst = expected.data.reduce((most, value, at) => {
        const difference = Math.abs((found.data[at] as number) - value);
        return Math.max(most, Math.abs(value) < 2 ** -17 ? Math.max(0, difference - error) : difference);
      }, 0);
      expect([name, found.shape, worst]).toEqual([name, expected.shape, 0]);
    }
    // What the engine makes of the finished GPTQ checkpoint is the same model.
    const exported = join(output, 'exported');
    await exportOnnx({ from: ours, to: exported });
    expect(await weightDigests(exported)).toEqual(await weightDigests(onnx));
  }, 300_000);

  it.each<[string, Partial<QuantizationSpecInput>]>([
    ['zero points, dynamic act-order', { recipe: { bits: 3, groupSize: 32, symmetric: false, actOrder: 'dynamic' } }],
    ['8 bits in rows, the head too', { recipe: { bits: 8, groupSize: -1 }, keepHead: false }],
    [
      'rotated, mixed widths, a skip',
      {
        rotation: 'hadamard',
        overrides: [
          { match: 'model.layers.1.*', skip: true },
          { match: '*.down_proj', bits: 2, symmetric: false },
        ],
      },
    ],
  ])(
    'writes the bytes that the engine alone writes, verified, and onnxruntime has the perplexity that we have (%s)',
    async (what, changes) => {
      const id = what.replaceAll(/\W+/g, '-');
      const { onnx: directory = '' } = (await stack.run(spec(stack.output(id), changes), id)).outputs;
      const directly = await quantizeDirect(spec(stack.output(`direct-${id}`), changes));
      expect(await weightDigests(directory)).toEqual(await weightDigests(directly.onnx as string));
      expect(await verifyCheckpoint(directory)).toMatchObject({ kind: 'onnx', passed: true });

      const checkpoint = await openCheckpoint(directory);
      const tokenizer = await loadTokenizer(directory);
      const { documents } = await readEvaluationText('demo');
      const tokens = await encodeDocuments(tokenizer, documents, { most: 8 * CONTEXT });
      const own = await perplexity({ checkpoint, tokens, context: CONTEXT, threads: 1 });
      const theirs = await perplexityOf(join(directory, modelOf(await weightDigests(directory))), tokens);
      expect(Math.abs(theirs / own.perplexity - 1)).toBeLessThan(SAME_PERPLEXITY);

      const promptTokens = await tokenizer.encode(PROMPT);
      const options = { maxNewTokens: NEW_TOKENS, temperature: 0, seed: 0, threads: 1 };
      const continued = await generate({ checkpoint, promptTokens, ...options });
      env.allowRemoteModels = false;
      env.localModelPath = dirname(directory);
      const inputs = (await AutoTokenizer.from_pretrained(id))(PROMPT);
      const model = await AutoModelForCausalLM.from_pretrained(id);
      const found = await model.generate({ ...inputs, max_new_tokens: NEW_TOKENS, do_sample: false });
      await model.dispose();
      expect((found as { tolist(): bigint[][] }).tolist()[0]?.map(Number)).toEqual([...promptTokens, ...continued]);
    },
    180_000,
  );

  it('does not verify with another bit in a file, nor with another number in the graph', async () => {
    const { onnx: directory = '' } = await quantizeDirect(spec(stack.output('damaged')));
    for (const [file, at, finding] of [
      ['onnx/model_q4.onnx_data', 1_500_000, 'weights are what the quantizer meant'],
      ['onnx/model_q4.onnx', -1, 'files are those of the manifest'],
    ] as const) {
      const path = join(directory, file);
      const bytes = await readFile(path);
      const damaged = Buffer.from(bytes);
      const place = at < 0 ? bytes.indexOf('block_size') + 'block_size'.length + 1 : at;
      damaged[place] = (damaged[place] as number) ^ 1;
      await writeFile(path, damaged);
      const { passed, checks } = await verifyCheckpoint(directory);
      expect(passed).toBe(false);
      expect(checks.filter(({ findingCount }) => findingCount > 0).map(({ name }) => name)).toContain(finding);
      await writeFile(path, bytes);
    }
    expect((await verifyCheckpoint(directory)).passed).toBe(true);
  }, 300_000);

  it('is refused before it starts where a grid is none of the operator', async () => {
    await expect(quantizeDirect(spec(stack.output('refused'), { recipe: { method: 'nf4' } }))).rejects.toThrow(
      'Format onnx: it cannot hold what the method nf4 makes. Write the format bitsandbytes',
    );
  });
});

function modelOf(digests: Readonly<Record<string, string>>): string {
  return Object.keys(digests).find((name) => name.endsWith('.onnx')) as string;
}

/** By onnxruntime, over windows as `perplexity` has them. */
async function perplexityOf(model: string, tokens: Int32Array): Promise<number> {
  const windows = Math.floor(tokens.length / CONTEXT);
  let total = 0;
  for (let window = 0; window < windows; window++) {
    const ids = [...tokens.subarray(window * CONTEXT, (window + 1) * CONTEXT)];
    const decoder = await openOnnxDecoder(model);
    const logits = await decoder.advance([ids]);
    await decoder.close();
    const vocabulary = logits.length / CONTEXT;
    for (const [at, token] of ids.slice(1).entries()) {
      const row = logits.subarray(at * vocabulary, (at + 1) * vocabulary);
      const largest = row.reduce((a, b) => Math.max(a, b));
      const sum = row.reduce((part, logit) => part + Math.exp(logit - largest), 0);
      total += Math.log(sum) + largest - (row[token] as number);
    }
  }
  return Math.exp(total / (windows * (CONTEXT - 1)));
}
