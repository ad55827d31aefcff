import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { QuantloomError } from '../../../spec';
import { HeaderFault } from '../container/header-reader';
import { meanSquares } from './importance-file';
import { importanceName } from './importance-names';
import { parseImportance, readImportance } from './read-importance';
import { writeImportance } from './write-importance';

// Written by gguf-py from what transformers computes (test/oracles/importance.py).
const FIXTURE = join(__dirname, 'fixtures', 'demo.gguf');
const LEGACY = join(__dirname, 'fixtures', 'demo.dat');
const SEED = 20261123;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-importance-'));
});
afterAll(() => rm(directory, { recursive: true }));

test('a file in the form of GGUF: entries, texts and chunks', async () => {
  const file = await readImportance(FIXTURE);
  expect(file).toMatchObject({ datasets: ['fixed-tokens'], chunks: 4, chunkTokens: 64 });
  expect(file.entries.size).toBe(4 * 7);
  const down = file.entries.get('blk.3.ffn_down.weight');
  expect([down?.columns, down?.counts]).toEqual([768, Float32Array.of(256)]);
  expect(file.entries.get('blk.0.attn_q.weight')?.sums).toEqual(file.entries.get('blk.0.attn_v.weight')?.sums);
});

test('the legacy form says the same, but for the last bits', async () => {
  const [file, legacy] = [await readImportance(FIXTURE), await readImportance(LEGACY)];
  expect(legacy).toMatchObject({ datasets: ['fixed-tokens'], chunks: 4, chunkTokens: null });
  expect([...legacy.entries.keys()].sort()).toEqual([...file.entries.keys()].sort());
  for (const [name, entry] of file.entries) {
    const [one, other] = [meanSquares(entry), meanSquares(legacy.entries.get(name) ?? entry)];
    one?.forEach((mean, i) => {
      expect(Math.abs(((other?.[i] ?? 0) as number) / mean - 1)).toBeLessThan(2 ** -22);
    });
  }
});

test('what is written has the bytes of gguf-py', async () => {
  const path = join(directory, 'written.gguf');
  await writeImportance(path, await readImportance(FIXTURE));
  expect(Buffer.compare(await readFile(path), await readFile(FIXTURE))).toBe(0);
});

test('experts are read one by one, and one that no token came to has no means', async () => {
  const path = join(directory, 'experts.gguf');
  const sums = Float32Array.of(2, 4, 0, 0, 9, 3);
  const entry = { columns: 2, sums, counts: Float32Array.of(2, 0, 3) };
  const entries = new Map([['blk.0.ffn_up_exps.weight', entry]]);
  await writeImportance(path, { datasets: [], chunks: 1, chunkTokens: 8, entries });
  const read = (await readImportance(path)).entries.get('blk.0.ffn_up_exps.weight') as typeof entry;
  expect(read).toEqual(entry);
  expect([0, 1, 2, 3].map((expert) => meanSquares(read, expert))).toEqual([
    Float32Array.of(1, 2),
    null,
    Float32Array.of(3, 1),
    null,
  ]);
});

test('linears are named as llama.cpp names their weights', () => {
  expect(
    [
      'model.layers.12.self_attn.o_proj',
      'transformer.h.3.attn.c_attn',
      'model.layers.0.block_sparse_moe.experts.7.w2',
      'model.layers.1.mlp.experts.31.gate_proj',
      'model.layers.1.mlp.shared_expert.up_proj',
      'lm_head',
      'model.decoder.layers.0.fc1',
    ].map(importanceName),
  ).toEqual([
    { name: 'blk.12.attn_output.weight', expert: 0 },
    { name: 'blk.3.attn_qkv.weight', expert: 0 },
    { name: 'blk.0.ffn_down_exps.weight', expert: 7 },
    { name: 'blk.1.ffn_gate_exps.weight', expert: 31 },
    { name: 'blk.1.ffn_up_shexp.weight', expert: 0 },
    { name: 'output.weight', expert: 0 },
    null,
  ]);
});

describe('what is wrong with a file is said', () => {
  const withNumber = async (value: number, part: 'sums' | 'counts') => {
    const { entries, ...file } = await readImportance(FIXTURE);
    const [name, entry] = [...entries][0] as [string, { sums: Float32Array; counts: Float32Array; columns: number }];
    const changed = { ...entry, [part]: entry[part].map((old, i) => (i === 0 ? value : old)) };
    const path = join(directory, `${part} ${value}.gguf`);
    await writeImportance(path, { ...file, entries: new Map([[name, changed]]) });
    return path;
  };

  it.each([
    [
      'a sum that is no number',
      () => withNumber(Number.NaN, 'sums'),
      'the sum of "blk.0.attn_k.weight" at column 0 is NaN',
    ],
    ['a sum below 0', () => withNumber(-1, 'sums'), 'at column 0 is -1; it has to be a finite number, 0 or more'],
    [
      'a count without end',
      () => withNumber(Number.POSITIVE_INFINITY, 'counts'),
      'count 0 of "blk.0.attn_k.weight" is Inf',
    ],
    [
      'a model',
      async () => join(__dirname, '../container/fixtures/every-type.gguf'),
      'its general.type is not "imatrix"',
    ],
    ['no file', async () => join(directory, 'none.gguf'), 'none.gguf cannot be read: ENOENT'],
    ['a text', async () => __filename, 'the number of entries, if this is a legacy importance matrix, is'],
  ])('%s', async (_, make, message) => {
    const reading = readImportance(await make());
    await expect(reading).rejects.toBeInstanceOf(QuantloomError);
    await expect(reading).rejects.toThrow(message);
    await expect(reading).rejects.toMatchObject({ code: 'InvalidCalibration' });
  });

  it('one that ends too early', async () => {
    const path = join(directory, 'cut.dat');
    await writeFile(path, (await readFile(LEGACY)).subarray(0, 5000));
    await expect(readImportance(path)).rejects.toThrow('it ends at byte 5000, within the values of');
  });
});

test.each(['demo.gguf', 'demo.dat'])(
  '%s with bytes that are others, or gone: it is read or refused at once',
  async (name) => {
    const whole = await readFile(join(__dirname, 'fixtures', name));
    // Lengths and names stand at the start of one and throughout the other.
    const place = fc.oneof(fc.nat(Math.min(whole.length, 4000) - 1), fc.nat(whole.length - 1));
    const value = fc.oneof(fc.constantFrom(0, 1, 127, 128, 255), fc.nat(255));
    const change = fc.record({ place, value, repeated: fc.constantFrom(1, 4, 8) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), fc.option(place, { nil: undefined }), (changes, length) => {
        const bytes = Uint8Array.from(whole.subarray(0, length ?? whole.length));
        for (const { place: at, value: byte, repeated } of changes) bytes.fill(byte, at, at + repeated);
        const began = process.cpuUsage();
        let refusal: unknown = null;
        try {
          const { entries } = parseImportance(bytes);
          for (const entry of entries.values()) meanSquares(entry);
        } catch (error) {
          refusal = error;
        }
        const { user, system } = process.cpuUsage(began);
        expect(user + system).toBeLessThan(1e6);
        if (refusal !== null) expect(refusal).toBeInstanceOf(HeaderFault);
      }),
      { numRuns: 500, seed: SEED },
    );
  },
);
