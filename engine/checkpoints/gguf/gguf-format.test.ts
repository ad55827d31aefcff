import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyModelDirectory } from '../../../test/tiny-models';
import { bytesOf, decodeFloats, float32View } from '../../numbers';
import { planModel } from '../../planning';
import { openModelDirectory, packageRoot } from '../../sources';
import { parseQuantizationSpec, QUANTIZED_BLOCK_TYPES, type QuantizationSpecInput } from '../../spec';
import { openCheckpoint } from '../open-checkpoint';
import type { StoredTensors } from '../verification/stored-tensors';
import { verifyCheckpoint } from '../verify-checkpoint';
import { blockSettings } from './block-settings';
import type { BlockTypeName } from './blocks/block-type';
import { BLOCK_TYPES } from './blocks/block-types';
import { decodeBlocks, encodeBlocks } from './blocks/encode-blocks';
import decoded from './blocks/fixtures/decoded-blocks.json';
import { readGgufHeader } from './container/read-gguf';
import { gguf } from './gguf-format';
import { readRawBlocks } from './raw-blocks';
import { writeGgufModel } from './write-gguf-model';

const MODEL = join(packageRoot(), 'assets', 'demo-model');

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-gguf-format-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('the decoder of the verification', () => {
  test.each(QUANTIZED_BLOCK_TYPES)('%s: random bytes become the numbers of gguf-py, bit for bit', async (name) => {
    const blocks = Buffer.from(decoded[name].blocks, 'base64');
    const expected = float32View(new Uint8Array(Buffer.from(decoded[name].values, 'base64')));
    const stored: StoredTensors = {
      tensors: new Map([['m.blocks', { dtype: 'U8', shape: [1, blocks.length] }]]),
      read: async () => blocks,
    };
    const settingsOf = () => blockSettings(BLOCK_TYPES[name]);
    const raw = await readRawBlocks('m', stored, { describedBy: 'the header says', settingsOf });
    const found = raw?.weights(0, 1) ?? new Float32Array(0);
    expect(found.length).toBe(expected.length);
    expect([...expected.keys()].filter((i) => !Object.is(found[i], expected[i]))).toEqual([]);
  });
});

describe('the plan', () => {
  const refusals = async (changes: Partial<QuantizationSpecInput>) => {
    const spec = parseQuantizationSpec({
      model: 'demo',
      output: join(directory, 'out'),
      formats: ['gguf'],
      ...changes,
    });
    return (await planModel(spec)).estimate.refusals.map(({ message }) => message).join('\n');
  };

  test.each<[string, Partial<QuantizationSpecInput>]>([
    ["Format gguf: its groups have 16 weights; GGUF's blocks need a multiple of 32.", { recipe: { groupSize: 16 } }],
    [
      'Format gguf: GGUF has no block type for 8 bit with zero points; make it symmetric, or choose up to 5 bit.',
      { recipe: { bits: 8, groupSize: 64, symmetric: false } },
    ],
    [
      'Format gguf: dynamic act-order puts columns into groups by their activations, and blocks hold neighbours. Use act-order static or none.',
      { recipe: { groupSize: 64, actOrder: 'dynamic' } },
    ],
  ])('refuses: %s', async (message, changes) => {
    expect(await refusals(changes)).toBe(message);
  });

  test.each<[string, Partial<QuantizationSpecInput>]>([
    [
      'kquants makes blocks of GGUF, and it is not said of which type. Write a format such as gguf:q4_k_m, or set blockType.',
      { recipe: { method: 'kquants' } },
    ],
    [
      'the method rtn makes no blocks of GGUF. Use the method gptq or kquants, or leave blockType out.',
      { recipe: { method: 'rtn' }, formats: ['gguf:q4_k_m'] },
    ],
    [
      'The format gguf:q4_k_m sets what every linear is quantized to, so it comes alone. Run a job for each of gguf:q4_k_m, gguf:q5_k_m.',
      { formats: ['gguf:q4_k_m', 'gguf:q5_k_m'] },
    ],
    [
      'The format gguf:q4_k_m chooses the types of all linears, so there are no widths to choose. Leave averageBits out, or write gptq.',
      { formats: ['gguf:q4_k_m'], averageBits: 3.5 },
    ],
  ])('of blocks refuses: %s', async (message, changes) => {
    expect(await refusals(changes)).toContain(message);
  });

  test('names of mixes are taken in any case, with the aliases of llama.cpp', () => {
    const formats = ['GGUF:Q4_K_M', 'gguf:q3_k'];
    expect(parseQuantizationSpec({ model: 'demo', output: 'out', formats }).formats).toEqual([
      'gguf:q4_k_m',
      'gguf:q3_k_m',
    ]);
    expect(() => parseQuantizationSpec({ model: 'demo', output: 'out', formats: ['gguf:q9'] })).toThrow('gguf:q4_k_m');
  });

  test('a mix gives every linear its type, with bits and groups that follow; what no type fits is kept', async () => {
    const spec = parseQuantizationSpec({
      ...{ model: 'demo', output: join(directory, 'out'), formats: ['gguf:q4_k_m'] },
      overrides: [{ match: '*.up_proj', blockType: 'q5_1' }],
    });
    const { plan, estimate } = await planModel(spec);
    const recipes = plan.blocks[0]?.stages.flatMap(({ linears }) => linears.map(({ recipe }) => recipe)) ?? [];
    expect(recipes.map((recipe) => [recipe?.blockType, recipe?.bits, recipe?.groupSize, recipe?.symmetric])).toEqual([
      ...Array(5).fill(['Q4_K', 4, 256, false]),
      ['Q5_1', 5, 32, false],
      ['Q4_K', 4, 256, false],
    ]);
    expect(estimate.refusals).toEqual([]);
  });

  test('takes a type for the embedding, and refuses it where a format has none such', async () => {
    const recipe = { method: 'rtn', groupSize: 32 } as const;
    const found = await refusals({ recipe, embedding: 'Q8_0', formats: ['gguf', 'gptq', 'onnx'] });
    expect(found).toBe(
      [
        'Format gptq: it stores the embedding as the source does. Leave embedding out, or write gguf (blocks such as Q8_0) or onnx (int4, int8).',
        'Format onnx: it has integers for the embedding, no blocks of Q8_0. Set embedding to int4 or int8, or write gguf.',
      ].join('\n'),
    );
    expect(await refusals({ recipe, embedding: 'int8' })).toBe(
      'Format gguf: it has blocks for the embedding, no plain int8. Set embedding to a type of block, such as Q8_0 or Q4_0, or write onnx.',
    );
    expect(await refusals({ recipe, embedding: 'q8_0' })).toBe('');
  });

  test('refuses an architecture that GGUF has no table for here', async () => {
    const model = tinyModelDirectory('opt-tied');
    expect(await refusals({ model, recipe: { method: 'rtn', groupSize: 32 } })).toContain(
      'opt has no name in GGUF, or none that Quantloom knows. Supported: llama, mistral,',
    );
  });

  test('refuses a tokenizer that llama.cpp has no name for', async () => {
    for (const file of ['config.json', 'model.safetensors']) await copyFile(join(MODEL, file), join(directory, file));
    const tokenizer = JSON.parse(await readFile(join(MODEL, 'tokenizer.json'), 'utf8'));
    tokenizer.pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type: 'Whitespace' }, tokenizer.pre_tokenizer] };
    await writeFile(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer));
    expect(await refusals({ model: directory, recipe: { groupSize: 64 } })).toContain(
      'tokenizer.json splits texts in a way that is not known for GGUF',
    );
  });

  test('states the bits of the blocks', () => {
    const linear = { name: 'm', rows: 64, columns: 128, bias: false };
    const bits = (recipe: QuantizationSpecInput['recipe']) =>
      gguf.bitsPerWeight({
        ...linear,
        recipe: parseQuantizationSpec({ model: 'demo', output: 'out', recipe: { groupSize: 64, ...recipe } }).recipe,
      });
    expect([bits({ bits: 2, symmetric: true }), bits({ bits: 4 }), bits({ bits: 8 })]).toEqual([4.5, 4.5, 8.5]);
    expect([bits({ bits: 4, symmetric: false }), bits({ bits: 5, symmetric: false })]).toEqual([5, 6]);
  });
});

const sameBytes = (a: Float32Array, b: Float32Array) => Buffer.compare(bytesOf(a), bytesOf(b)) === 0;

describe('a file of another producer', () => {
  const typeOf = (name: string): BlockTypeName =>
    name.endsWith('embed_tokens.weight') ? 'Q8_0' : name.endsWith('up_proj.weight') ? 'MXFP4' : 'Q4_0';

  async function write(): Promise<string> {
    const path = join(directory, 'foreign.gguf');
    const source = await openModelDirectory(MODEL);
    await writeGgufModel({ source, path, name: 'demo', fileType: 'Q4_0', typeOf });
    return path;
  }

  test('is read without a config.json, under the names and in the order of its source', async () => {
    const path = await write();
    const [original, found] = [await openCheckpoint(MODEL), await openCheckpoint(path)];
    expect(found.names()).toEqual(original.names());
    expect(found.config).toMatchObject({
      model_type: 'llama',
      vocab_size: original.config.vocab_size,
      num_key_value_heads: original.config.num_key_value_heads,
      tie_word_embeddings: true,
    });
    for (const name of original.names()) {
      const { shape, data: values } = await original.float(name);
      const type = BLOCK_TYPES[typeOf(name)];
      const columns = shape.at(-1) as number;
      const expected = shape.length === 1 ? values : decodeBlocks(type, encodeBlocks({ type, values, columns, name }));
      expect([name, await found.shape(name)]).toEqual([name, shape]);
      const [float, stored] = [(await found.float(name)).data, decodeFloats(await found.stored(name))];
      expect([name, sameBytes(float, expected), sameBytes(stored, expected)]).toEqual([name, true, true]);
    }
    // Floats: the type lies on no grid of a quantizer's.
    const module = 'model.layers.0.mlp.up_proj';
    expect(await found.linear(module)).toEqual(await found.float(`${module}.weight`));
    expect(await original.linear(module)).toBeNull();
  });

  test('is verified by a second decoder, whatever its types', async () => {
    const result = await verifyCheckpoint(await write());
    expect(result).toMatchObject({ kind: 'gguf', passed: true, hasManifest: false });
    const notes = result.checks.flatMap((check) => check.notes);
    expect(notes.join('\n')).not.toContain('second decoder');
  });

  test.each([
    ['cut', (file: Buffer) => file.subarray(0, file.length - 1000), /is not within the file|ends at byte/],
    ['with a scale that is not finite', undefined, /NaN in block 0, row 0|Infinity in block 0, row 0/],
  ])('%s, is found out', async (_, damage, finding) => {
    const path = await write();
    const { tensors } = await readGgufHeader(path);
    const file = await readFile(path);
    file.writeUInt16LE(0x7c00, damage ? file.length - 2 : (tensors.get('blk.1.ffn_down.weight')?.offset as number));
    await writeFile(path, damage ? damage(file) : file);
    const result = await verifyCheckpoint(path);
    expect(result.passed).toBe(false);
    expect(result.checks.flatMap(({ findings }) => findings).join('\n')).toMatch(finding);
  });
});
