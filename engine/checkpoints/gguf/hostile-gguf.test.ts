import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { mutatedJson } from '../../../test/support/mutated-json';
import { tinyModelDirectory } from '../../../test/tiny-models';
import { loadTokenizer } from '../../calibration';
import { openModelDirectory } from '../../sources';
import { QuantloomError } from '../../spec';
import { openCheckpoint } from '../open-checkpoint';
import { verifyCheckpoint } from '../verify-checkpoint';
import type { GgufMetadata, GgufValue } from './container/gguf-value';
import type { GgufTensor } from './container/layout-gguf';
import { readGgufHeader, readGgufTensor } from './container/read-gguf';
import { writeGguf } from './container/write-gguf';
import { recoverTokenizer } from './tokenizer/recover-tokenizer';
import { tokenizerMetadata } from './tokenizer/tokenizer-metadata';
import { writeGgufModel } from './write-gguf-model';

jest.setTimeout(120_000);

const MODEL = tinyModelDirectory('qwen2-grouped');
const MOST_MICROSECONDS = 1e6;
const SEED = 20261123;

/** What a key may hold where something else is expected. */
const SURPRISES: readonly GgufValue[] = [
  { type: 'bool', value: true },
  { type: 'uint32', value: 0 },
  { type: 'uint32', value: 1 },
  { type: 'uint32', value: 2 ** 32 - 1 },
  { type: 'int32', value: -1 },
  { type: 'uint64', value: 2n ** 64n - 1n },
  { type: 'float32', value: Number.NaN },
  { type: 'float64', value: 1e308 },
  { type: 'string', value: '' },
  { type: 'string', value: 'llama' },
  { type: 'string', value: '__proto__' },
  { type: 'string', value: '{% for x in range(10000000000) %}{{ x }}{% endfor %}' },
  { type: 'array', value: { of: 'string', values: [] } },
  { type: 'array', value: { of: 'string', values: Array(5000).fill('a') } },
  { type: 'array', value: { of: 'string', values: ['__proto__', 'constructor', '', ' ', 'a b c'] } },
  { type: 'array', value: { of: 'string', values: ['a'.repeat(1_000_000)] } },
  { type: 'array', value: { of: 'bool', values: [true, false] } },
  { type: 'array', value: { of: 'int32', values: new Int32Array(400).fill(-1) } },
  { type: 'array', value: { of: 'float32', values: new Float32Array(400).fill(Number.NaN) } },
];

async function judge(act: () => Promise<unknown> | unknown): Promise<void> {
  const began = process.cpuUsage();
  let refusal: unknown = null;
  try {
    await act();
  } catch (error) {
    refusal = error;
  }
  const { user, system } = process.cpuUsage(began);
  expect(user + system).toBeLessThan(MOST_MICROSECONDS);
  if (refusal !== null) expect(refusal).toBeInstanceOf(QuantloomError);
}

describe.each([
  ['qwen2-grouped', /./, 60],
  ['qwen2moe-shared', /\.expert_/, 20],
] as const)('a GGUF file of %s whose header is well-formed, and says what surprises', (model, changed, numRuns) => {
  let directory: string;
  let metadata: GgufMetadata;
  let tensors: readonly GgufTensor[];
  const contents = new Map<string, Uint8Array>();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-hostile-'));
    const path = join(directory, 'whole.gguf');
    const source = await openModelDirectory(tinyModelDirectory(model));
    const typeOf = (name: string) => (/ffn_(up|down)/.test(name) ? 'Q4_0' : 'F16');
    await writeGgufModel({ source, path, name: 'Tiny', fileType: 'Q4_0', typeOf });
    const header = await readGgufHeader(path);
    metadata = header.metadata;
    tensors = [...header.tensors.values()].map(({ name, shape, type }) => ({ name, shape, type }));
    for (const tensor of header.tensors.values()) contents.set(tensor.name, await readGgufTensor(path, tensor));
  });
  afterAll(() => rm(directory, { recursive: true }));

  let files = 0;
  async function judgeFile(mutated: GgufMetadata, list: readonly GgufTensor[]): Promise<void> {
    const folder = join(directory, String(files++));
    await mkdir(folder);
    const path = join(folder, 'model.gguf');
    const read = ({ name, shape, type }: GgufTensor) => {
      const whole = contents.get(name) as Uint8Array;
      const rows = tensors.find((tensor) => tensor.name === name) as GgufTensor;
      const count = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
      const bytes = (whole.length / count(rows.shape)) * count(shape);
      return type === rows.type ? [whole.subarray(0, bytes)] : [];
    };
    await writeGguf({ path, metadata: mutated, tensors: list, read });
    await judge(async () => {
      const checkpoint = await openCheckpoint(path);
      for (const name of checkpoint.names()) await checkpoint.float(name);
      await verifyCheckpoint(folder);
    });
    await judge(async () => {
      for (const [name, content] of recoverTokenizer(mutated, path)) await writeFile(join(folder, name), content);
      const tokenizer = await loadTokenizer(folder);
      tokenizer.decode(await tokenizer.encode('Once upon a time, 123 birds: sang!  äöü\n'));
    });
    await rm(folder, { recursive: true });
  }

  it('in one of its keys', async () => {
    for (const key of metadata.keys()) {
      if (key === 'general.alignment' || !changed.test(key)) continue;
      for (const value of SURPRISES) await judgeFile(new Map([...metadata, [key, value]]), tensors);
      await judgeFile(new Map([...metadata].filter(([name]) => name !== key)), tensors);
    }
  });

  it('in a token of a million letters, whose cuts would be tried one by one', async () => {
    const tokens: GgufValue = { type: 'array', value: { of: 'string', values: ['a'.repeat(1_000_000)] } };
    const mutated = new Map([...metadata, ['tokenizer.ggml.tokens', tokens] as const]);
    mutated.set('tokenizer.ggml.model', { type: 'string', value: 'llama' });
    mutated.set('tokenizer.ggml.token_type', { type: 'array', value: { of: 'int32', values: Int32Array.of(1) } });
    expect(() => recoverTokenizer(mutated, 'model.gguf')).toThrow(/a token of 1000000 letters, over the limit of 1024/);
    await judgeFile(mutated, tensors);
  });

  it('in several of its keys', async () => {
    const change = fc.tuple(fc.constantFrom(...metadata.keys()), fc.constantFrom(...SURPRISES));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 2, maxLength: 4 }), (changes) =>
        judgeFile(new Map([...metadata, ...changes]), tensors),
      ),
      { numRuns, seed: SEED },
    );
  });

  it('in its tensors', async () => {
    const change = fc.tuple(fc.nat(tensors.length - 1), fc.constantFrom('gone', 'fewer rows', 'flat', 'turned'));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const list = tensors.flatMap((tensor, at) => {
          const how = changes.find(([changed]) => changed === at)?.[1];
          if (how === 'gone') return [];
          const [rows = 1, columns = 1] = tensor.shape;
          if (how === 'fewer rows' && tensor.shape.length === 2 && rows > 1)
            return [{ ...tensor, shape: [rows - 1, columns] }];
          if (how === 'fewer rows' && tensor.shape.length === 3) {
            return [{ ...tensor, shape: [rows - 1, ...tensor.shape.slice(1)] }];
          }
          if (how === 'flat') return [{ ...tensor, shape: [rows * columns] }];
          if (how === 'turned' && rows % 32 === 0) return [{ ...tensor, shape: tensor.shape.toReversed() }];
          return [tensor];
        });
        return judgeFile(metadata, list);
      }),
      { numRuns, seed: SEED },
    );
  });
});

describe("a tokenizer's files on their way into GGUF", () => {
  const FILES = ['tokenizer.json', 'tokenizer_config.json', 'config.json'] as const;

  it.each(FILES)('%s with values that surprise: it is written, or what is wrong is said', async (file) => {
    const read = FILES.map(async (name) => [name, JSON.parse(await readFile(join(MODEL, name), 'utf8'))] as const);
    const documents = Object.fromEntries(await Promise.all(read));
    const templates = { name: 'default', template: '{{ messages }}' };
    documents['tokenizer_config.json'].chat_template = [templates, { ...templates, name: 'tools' }];
    await fc.assert(
      fc.asyncProperty(mutatedJson(documents[file]), async (mutated) => {
        // As they are read from files: each is an object.
        if (typeof mutated !== 'object' || mutated === null || Array.isArray(mutated)) return;
        const given = { ...documents, [file]: mutated };
        await judge(() =>
          tokenizerMetadata({
            tokenizer: given['tokenizer.json'],
            tokenizerConfig: given['tokenizer_config.json'],
            modelConfig: given['config.json'],
            vocabularySize: 320,
          }),
        );
      }),
      { numRuns: 300, seed: SEED },
    );
  });
});
