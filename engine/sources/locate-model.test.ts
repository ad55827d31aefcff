import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { writeGgufModel } from '../checkpoints/gguf';
import { quantizeDirect } from '../direct/quantize-direct';
import { architectureOf } from '../models';
import { decodeFloats, encodeFloats } from '../numbers';
import { planModel } from '../planning';
import { type ModelOrigin, parseQuantizationSpec } from '../spec';
import { locateModel, obtainModel } from './locate-model';
import { openModelDirectory } from './open-model-directory';
import type { SourceAccess } from './remote/source-access';
import { resolveModelDirectory } from './resolve-model-directory';

const DEMO = resolveModelDirectory('demo');
let root: string;
let access: SourceAccess;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quantloom-locate-'));
  access = { models: join(root, 'models'), hub: {} };
});
afterEach(() => rm(root, { recursive: true }));

async function writeGguf(type: 'F16' | 'Q4_0'): Promise<string> {
  const path = join(root, `demo-${type}.gguf`);
  const source = await openModelDirectory(DEMO);
  await writeGgufModel({ source, path, name: 'Demo', fileType: type, typeOf: () => type });
  return path;
}

/** Of two checkpoints: the second has the weights of the first, in this dtype. */
async function expectRounded(exact: string, rounded: string, dtype: 'F16' | 'BF16'): Promise<void> {
  const [one, other] = [await openCheckpoint(exact), await openCheckpoint(rounded)];
  expect(other.names()).toEqual(one.names());
  expect(other.kind).toBe('dense');
  for (const name of one.names()) {
    const { data, shape } = await one.float(name);
    const found = await other.stored(name);
    const expected = found.dtype === 'F32' ? data : decodeFloats({ dtype, shape, data: encodeFloats(data, dtype) });
    expect({
      name,
      same: Buffer.compare(Buffer.from(decodeFloats(found).buffer), Buffer.from(expected.buffer)),
    }).toEqual({
      name,
      same: 0,
    });
  }
}

async function obtained(model: string, dequantize?: boolean): Promise<string> {
  const { directory, origin } = await locateModel(model, access, { dequantize });
  await obtainModel({ directory, origin: origin as ModelOrigin }, access);
  return directory;
}

test('a directory of plain weights is read where it lies', async () => {
  for (const dequantize of [false, true]) {
    const located = await locateModel(DEMO, null, { dequantize });
    expect(located).toEqual({ directory: DEMO, preview: DEMO, origin: null, quantized: null, bytesToFetch: 0 });
  }
});

test('a GGUF file of plain weights becomes its source: names, rows, tokenizer, config', async () => {
  const path = await writeGguf('F16');
  const { preview, directory } = await locateModel(path, access);
  const planned = await openModelDirectory(preview);
  expect((await stat(join(preview, planned.weightFiles[0] as string))).blocks).toBeLessThan(64);
  expect(await obtained(path)).toBe(directory);
  // Of float16 nothing is lost: the demo's weights are far from its limits.
  await expectRounded(DEMO, directory, 'F16');
  const found = await openModelDirectory(directory);
  expect(Object.keys(found.tensors)).toEqual(Object.keys(planned.tensors));
  expect(found.companions).toEqual(['tokenizer.json', 'tokenizer_config.json']);
  const config = JSON.parse(await readFile(join(DEMO, 'config.json'), 'utf8'));
  for (const field of [
    'hidden_size',
    'rms_norm_eps',
    'vocab_size',
    'num_key_value_heads',
    'eos_token_id',
    'tie_word_embeddings',
  ]) {
    expect({ [field]: found.config[field] }).toEqual({ [field]: config[field] });
  }
});

test('a quantized GGUF file is refused by name, and dequantized on request', async () => {
  const path = await writeGguf('Q4_0');
  await expect(locateModel(path, access)).rejects.toMatchObject({
    code: 'UnsupportedInput',
    message: expect.stringMatching(/demo-Q4_0\.gguf is quantized already \(Q4_0\): .* --dequantize\.$/),
  });
  await expectRounded(path, await obtained(path, true), 'F16');
});

test.each(['mixtral-grouped', 'qwen2moe-shared', 'qwen3moe-grouped'] as const)(
  'a quantized GGUF file of a mixture of experts becomes its source, expert by expert: %s',
  async (name) => {
    const path = join(root, `${name}.gguf`);
    const source = await openModelDirectory(tinyModelDirectory(name));
    await writeGgufModel({ source, path, name, fileType: 'Q8_0', typeOf: () => 'Q8_0' });
    await expectRounded(path, await obtained(path, true), 'F16');
    const recipe = { method: 'rtn', groupSize: 32 } as const;
    const asked = { model: path, dequantize: true, output: join(root, 'out'), formats: ['gguf' as const], recipe };
    const { plan, estimate } = await planModel(parseQuantizationSpec(asked), { sources: access });
    expect(estimate.refusals).toEqual([]);
    expect(Object.keys(plan.tensors)).toEqual(Object.keys(source.tensors));
    const { experts } = architectureOf(plan.config).shape(plan.config);
    expect(experts).toEqual(architectureOf(source.config).shape(source.config).experts);
  },
);

test.each([
  ['gptq', {}],
  ['bitsandbytes', { method: 'nf4' }],
] as const)('a checkpoint in the format %s is dequantized to the dtype of its config', async (format, recipe) => {
  const output = join(root, 'quantized');
  await quantizeDirect({
    model: 'demo',
    output,
    formats: [format],
    recipe: { method: 'rtn', groupSize: 64, ...recipe },
  });
  // Before anything is dequantized, formats that look at the tokenizer find it.
  const asked = {
    model: output,
    dequantize: true,
    output: join(root, 'out'),
    formats: ['gguf'],
    recipe: { groupSize: 32 },
  };
  const { estimate } = await planModel(parseQuantizationSpec(asked), { sources: access });
  expect(estimate.refusals).toEqual([]);
  const directory = await obtained(output, true);
  await expectRounded(output, directory, 'BF16');
  const { config, companions } = await openModelDirectory(directory);
  expect(config.quantization_config).toBeUndefined();
  expect(companions).toEqual((await openModelDirectory(DEMO)).companions);
});

test('what an interrupted copy has finished is not written again; a changed source is noticed', async () => {
  const path = await writeGguf('Q4_0');
  const { directory, origin } = await locateModel(path, access, { dequantize: true });
  const controller = new AbortController();
  const interrupted = obtainModel({ directory, origin: origin as ModelOrigin }, access, {
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  });
  await expect(interrupted).rejects.toThrow('enough');
  const partial = join(directory, '..', `.demo-Q4_0.partial`);
  const [first] = (await readdir(partial)).sort();
  const { ino } = await stat(join(partial, first as string));
  await obtainModel({ directory, origin: origin as ModelOrigin }, access);
  expect((await stat(join(directory, first as string))).ino).toBe(ino);

  await rm(directory, { recursive: true });
  await writeFile(path, await readFile(path));
  await expect(obtainModel({ directory, origin: origin as ModelOrigin }, access)).rejects.toMatchObject({
    code: 'SourceChanged',
  });
});

test('a tokenizer beside a GGUF file is taken in place of its own', async () => {
  const path = await writeGguf('F16');
  await cp(join(DEMO, 'tokenizer.json'), join(root, 'tokenizer.json'));
  const directory = await obtained(path);
  expect(await readFile(join(directory, 'tokenizer.json'), 'utf8')).toBe(
    await readFile(join(DEMO, 'tokenizer.json'), 'utf8'),
  );
});
