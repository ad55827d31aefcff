import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeRandomModel } from '../../../test/support/random-model';
import { type TinyModelName, tinyModelDirectory } from '../../../test/tiny-models';
import { planModel } from '../../planning';
import { openModelDirectory } from '../../sources';
import { parseQuantizationSpec, type QuantizationSpecInput } from '../../spec';
import { openCheckpoint } from '../open-checkpoint';
import { verifyCheckpoint } from '../verify-checkpoint';
import type { GgufValue } from './container/gguf-value';
import { readGgufHeader, readGgufTensor } from './container/read-gguf';
import { type WriteGgufOptions, writeGguf } from './container/write-gguf';
import mixtral from './fixtures/mixtral-grouped.json';
import qwen2Moe from './fixtures/qwen2moe-shared.json';
import qwen3Moe from './fixtures/qwen3moe-grouped.json';
import { writeGgufModel } from './write-gguf-model';

// The fixtures are what llama.cpp's convert_hf_to_gguf.py makes of the tiny models (test/oracles/gguf_model.py).
const OFFICIAL = { 'mixtral-grouped': mixtral, 'qwen2moe-shared': qwen2Moe, 'qwen3moe-grouped': qwen3Moe } as const;
const NAMES = Object.keys(OFFICIAL) as (keyof typeof OFFICIAL)[];

/** Keys that the converter makes from the directory's name; and what we always say. */
const OF_THE_CARD = ['general.name', 'general.size_label'];
const ALWAYS_SAID =
  /\.(vocab_size|rope\.dimension_count|attention\.(key|value)_length)$|^tokenizer\.ggml\.(add_[be]os_token|padding_token_id)$/;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-gguf-experts-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** As test/oracles/gguf_model.py shows a value. */
function shown(value: GgufValue): unknown {
  if (value.type !== 'array') return value.value;
  const items = Array.from<unknown>(value.value.values);
  if (items.length <= 16) return items;
  const hash = createHash('sha256');
  for (const item of items) hash.update(`${item}\0`);
  return { length: items.length, sha256: hash.digest('hex') };
}

test.each(NAMES)('%s: the keys and the tensors of the official converter, byte for byte', async (name) => {
  const path = join(directory, `${name}.gguf`);
  const source = await openModelDirectory(tinyModelDirectory(name));
  await writeGgufModel({ source, path, name, fileType: 'F16', typeOf: () => 'F16' });
  const { metadata, tensors } = await readGgufHeader(path);
  const keys = Object.entries<unknown>(OFFICIAL[name].metadata).filter(([key]) => !OF_THE_CARD.includes(key));
  const found = new Map(
    [...metadata].map(([key, value]) => {
      const types = value.type === 'array' ? ['array', value.value.of] : [value.type];
      return [key, { types, value: shown(value) }] as const;
    }),
  );
  expect(keys.map(([key]) => [key, found.get(key)])).toEqual(keys);
  const official = new Set([...keys.map(([key]) => key), ...OF_THE_CARD]);
  expect([...found.keys()].filter((key) => !official.has(key) && !ALWAYS_SAID.test(key))).toEqual([]);

  const written: Record<string, unknown> = {};
  for (const tensor of tensors.values()) {
    const sha256 = createHash('sha256').update(await readGgufTensor(path, tensor));
    written[tensor.name] = { type: tensor.type, shape: tensor.shape, sha256: sha256.digest('hex') };
  }
  const expected = Object.entries<{ shape: number[] }>(OFFICIAL[name].tensors).map(([tensor, { shape, ...values }]) => {
    // A matrix of one row, until llama.cpp quantizes the file.
    return [tensor, { ...values, shape: tensor.includes('inp_shexp') ? shape.slice(1) : shape }];
  });
  expect(written).toEqual(Object.fromEntries(expected));
});

test('a header that claims more experts than can be read is refused, and found by verification', async () => {
  const path = join(directory, 'high.gguf');
  const { metadata } = await readGgufHeader(join(directory, 'mixtral-grouped.gguf'));
  const shape = [262145, 1, 1];
  const stack = { name: 'blk.0.ffn_up_exps.weight', shape, type: 'F32' as const };
  const embedding = { name: 'token_embd.weight', shape: [320, 1], type: 'F32' as const };
  const read = (tensor: typeof stack) => [new Uint8Array(4 * (tensor.shape[0] as number))];
  await writeGguf({ path, metadata, tensors: [stack, embedding], read: read as WriteGgufOptions['read'] });
  await expect(openCheckpoint(path)).rejects.toThrow(
    /"blk.0.ffn_up_exps.weight" and those before it are 262145; 262144 are allowed/,
  );
  expect(await verifyCheckpoint(path)).toMatchObject({ passed: false });
});

describe('the plan', () => {
  const refusals = async (name: TinyModelName, changes: Partial<QuantizationSpecInput> = {}) => {
    const spec = parseQuantizationSpec({
      ...{ model: tinyModelDirectory(name), output: join(directory, 'out'), formats: ['gguf'] },
      ...{ recipe: { method: 'rtn', groupSize: 32 }, ...changes },
    });
    return (await planModel(spec)).estimate.refusals.map(({ message }) => message);
  };

  test.each(NAMES)('takes %s', async (name) => {
    expect(await refusals(name)).toEqual([]);
    expect(await refusals(name, { formats: ['gguf:q4_k_m'], recipe: { method: 'kquants' } })).toEqual([]);
  });

  test.each<[TinyModelName, string]>([
    ['qwen2moe-dense', 'layer 0 has no experts, and llama.cpp looks for them in every layer of this architecture'],
    ['mixtral-window', 'llama.cpp attends to all tokens in this architecture, and config.json says windows of 24'],
  ])('refuses what llama.cpp computes in another way: %s', async (name, message) => {
    expect((await refusals(name)).join()).toContain(`The model cannot be written to GGUF: ${message}`);
  });

  test('refuses a tied head of Qwen2-MoE, which becomes one of its own when it is quantized', async () => {
    const model = await writeRandomModel(join(directory, 'tied'), 'qwen2moe-shared', { tie_word_embeddings: true });
    expect(await refusals('qwen2moe-shared', { model })).toEqual([
      'The model cannot be written to GGUF: its head is the embedding, and llama.cpp wants one of its own here; quantize it (keepHead: false). ' +
        'Formats such as compressed-tensors hold it as it is.',
    ]);
    expect(await refusals('qwen2moe-shared', { model, keepHead: false })).toEqual([]);
  });

  test.each<[string, QuantizationSpecInput['overrides'], Partial<QuantizationSpecInput>, string]>([
    [
      'another width for one',
      [{ match: '*.0.mlp.experts.0.down_proj', bits: 8 }],
      {},
      'model.layers.0.mlp.experts.0.down_proj would be Q8_0, model.layers.0.mlp.experts.1.down_proj Q4_0. ' +
        'Let overrides match all experts of a layer: "model.layers.0.mlp.experts.*.down_proj".',
    ],
    ['one that is kept', [{ match: '*.1.mlp.experts.3.*', skip: true }], {}, 'experts.3.gate_proj kept in 16 bit'],
    [
      'another block type for one',
      [{ match: '*.experts.5.up_proj', blockType: 'Q8_0' }],
      { formats: ['gguf:q4_0'], recipe: { method: 'kquants' } },
      'experts.5.up_proj Q8_0',
    ],
    [
      'one whose width is not left open',
      [{ match: '*.experts.2.up_proj', bits: 8 }],
      { averageBits: 3.5, recipe: { groupSize: 32 }, order: 'independent' },
      'experts.2.up_proj Q8_0',
    ],
  ])('refuses experts of a layer that would be of several types: %s', async (_, overrides, changes, message) => {
    const found = await refusals('qwen2moe-shared', { overrides, ...changes });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^Format gguf(:q4_0)?: the experts of a layer are one tensor of one type in GGUF, and /);
    expect(found[0]).toContain(message);
  });

  test('takes overrides of all experts of a layer, and of the shared one', async () => {
    const overrides = [
      { match: 're:\\.0\\.mlp\\.experts\\.\\d+\\.up_proj$', bits: 8 },
      { match: '*.shared_expert.*', bits: 5 },
    ];
    expect(await refusals('qwen2moe-shared', { overrides } as Partial<QuantizationSpecInput>)).toEqual([]);
  });
});
