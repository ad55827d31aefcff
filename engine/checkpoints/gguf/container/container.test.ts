import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { bytesOf, encodeFloats } from '../../../numbers';
import { QuantloomError } from '../../../spec';
import type { GgufMetadata, GgufValue } from './gguf-value';
import { type GgufTensor, layoutGguf } from './layout-gguf';
import { parseGgufHeader } from './parse-gguf-header';
import { readGgufHeader, readGgufTensor } from './read-gguf';
import { type TensorBytes, writeGguf } from './write-gguf';

// Files of gguf-py's writer, made by test/oracles/gguf_files.py.
const fixture = (name: string) => join(__dirname, 'fixtures', name);
const EVERY_TYPE = fixture('every-type.gguf');

const SCALARS = [
  { type: 'uint8', value: 255 },
  { type: 'int8', value: -128 },
  { type: 'uint16', value: 65535 },
  { type: 'int16', value: -32768 },
  { type: 'uint32', value: 4294967295 },
  { type: 'int32', value: -2147483648 },
  { type: 'float32', value: Math.fround(0.1) },
  { type: 'bool', value: true },
  { type: 'uint64', value: 18446744073709551615n },
  { type: 'int64', value: -9223372036854775808n },
  { type: 'float64', value: 0.1 },
] as const satisfies readonly GgufValue[];

const ARRAYS: readonly GgufValue[] = [
  { type: 'array', value: { of: 'uint8', values: Uint8Array.of(255, 0, 255) } },
  { type: 'array', value: { of: 'int8', values: Int8Array.of(-128, 0, -128) } },
  { type: 'array', value: { of: 'uint16', values: Uint16Array.of(65535, 0, 65535) } },
  { type: 'array', value: { of: 'int16', values: Int16Array.of(-32768, 0, -32768) } },
  { type: 'array', value: { of: 'uint32', values: Uint32Array.of(4294967295, 0, 4294967295) } },
  { type: 'array', value: { of: 'int32', values: Int32Array.of(-2147483648, 0, -2147483648) } },
  { type: 'array', value: { of: 'float32', values: Float32Array.of(0.1, 0, 0.1) } },
  { type: 'array', value: { of: 'bool', values: [true, false, true] } },
  { type: 'array', value: { of: 'uint64', values: BigUint64Array.of(2n ** 64n - 1n, 0n, 2n ** 64n - 1n) } },
  { type: 'array', value: { of: 'int64', values: BigInt64Array.of(-(2n ** 63n), 0n, -(2n ** 63n)) } },
  { type: 'array', value: { of: 'float64', values: Float64Array.of(0.1, 0, 0.1) } },
];

const metadata: GgufMetadata = new Map<string, GgufValue>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ...SCALARS.map((value) => [`test.${value.type}`, value] as const),
  ['test.string', { type: 'string', value: 'Größe 🦙 ▁' }],
  ...ARRAYS.map((value, i) => [`test.${SCALARS[i]?.type}s`, value] as const),
  ['test.strings', { type: 'array', value: { of: 'string', values: ['', 'a', 'ü', '<|end|>'] } }],
]);
const alignedTo64: GgufMetadata = new Map<string, GgufValue>([
  ...[...metadata].slice(0, 1),
  ['general.alignment', { type: 'uint32', value: 64 }],
  ...[...metadata].slice(1),
]);

const tensors: readonly GgufTensor[] = [
  { name: 'blk.0.attn_q.weight', shape: [3, 32], type: 'F32' },
  { name: 'blk.0.attn_norm.weight', shape: [5], type: 'F32' },
  { name: 'cube', shape: [2, 3, 16], type: 'F16' },
  { name: 'blk.0.ffn_up.weight', shape: [3, 32], type: 'Q8_0' },
];
const ramp = Float32Array.from({ length: 96 }, (_, i) => i / 8);
const content: Readonly<Record<string, Uint8Array>> = {
  'blk.0.attn_q.weight': bytesOf(ramp),
  'blk.0.attn_norm.weight': bytesOf(ramp.slice(0, 5)),
  cube: encodeFloats(ramp, 'F16'),
  'blk.0.ffn_up.weight': Uint8Array.from({ length: 102 }, (_, i) => i),
};

/** In pieces of seven bytes. */
async function* inPieces({ name }: GgufTensor): AsyncGenerator<Uint8Array> {
  const bytes = content[name] as Uint8Array;
  for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantloom-gguf-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function refusal(act: () => Promise<unknown>): Promise<QuantloomError> {
  const error = await act().then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof QuantloomError)) throw error ?? new Error('it was taken');
  return error;
}

describe('writing', () => {
  test.each([
    ['every-type.gguf', metadata],
    ['aligned-to-64.gguf', alignedTo64],
  ])('%s: the bytes of gguf-py', async (name, values) => {
    const path = join(directory, name);
    const written = await writeGguf({ path, metadata: values, tensors, read: inPieces });
    const expected = readFileSync(fixture(name));
    expect(readFileSync(path).equals(expected)).toBe(true);
    expect(written).toEqual({ name, bytes: expected.length, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test.each([
    ['too few', 101, 'takes 102 bytes as Q8_0, but 101 were given'],
    ['too many', 103, 'takes 102 bytes as Q8_0, but more were given'],
  ])('%s bytes for a tensor: an error, and no file', async (_, bytes, message) => {
    const path = join(directory, 'partial.gguf');
    const read = (tensor: GgufTensor): TensorBytes =>
      tensor.type === 'Q8_0' ? [new Uint8Array(bytes)] : inPieces(tensor);
    const error = await refusal(() => writeGguf({ path, metadata, tensors, read }));
    expect(error.message).toContain(`Tensor blk.0.ffn_up.weight of shape [3, 32] ${message}`);
    expect(readdirSync(directory)).not.toContain('partial.gguf');
  });

  test('an error of the source leaves no file, and what exists is not touched', async () => {
    const path = join(directory, 'mine.gguf');
    const failing = () => {
      throw new QuantloomError('SourceChanged', 'it is gone');
    };
    expect((await refusal(() => writeGguf({ path, metadata, tensors, read: failing }))).code).toBe('SourceChanged');
    expect(readdirSync(directory)).not.toContain('mine.gguf');
    writeFileSync(path, 'mine');
    expect((await refusal(() => writeGguf({ path, metadata, tensors, read: inPieces }))).code).toBe('OutputExists');
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  const matrix = tensors[0] as GgufTensor;
  test.each<[string, GgufMetadata, readonly GgufTensor[], string]>([
    ['a number out of range', new Map([['k', { type: 'uint8', value: 256 }]]), [], 'The metadata key k'],
    ['an empty key', new Map([['', { type: 'bool', value: true }]]), [], 'A metadata key of 0 bytes'],
    ['an odd alignment', new Map([['general.alignment', { type: 'uint32', value: 48 }]]), [], 'power of two'],
    ['two tensors of one name', new Map(), [matrix, matrix], 'A second tensor named "blk.0.attn_q.weight"'],
    ['a long name', new Map(), [{ ...matrix, name: 'ü'.repeat(32) }], 'of 64 bytes'],
    ['five dimensions', new Map(), [{ ...matrix, shape: [1, 1, 1, 1, 32] }], '[1, 1, 1, 1, 32]'],
    ['a dimension of 0', new Map(), [{ ...matrix, shape: [0, 32] }], '[0, 32]'],
    ['rows that are not whole blocks', new Map(), [{ ...matrix, type: 'Q4_K' }], 'blocks of 256 weights'],
  ])('%s is refused', (_, values, list, message) => {
    expect(() => layoutGguf(values, list)).toThrow(message);
  });
});

describe('reading', () => {
  test.each([
    ['every-type.gguf', metadata],
    ['aligned-to-64.gguf', alignedTo64],
  ])('%s of gguf-py: metadata with types, and tensors', async (name, values) => {
    const header = await readGgufHeader(fixture(name));
    expect([...header.metadata]).toEqual([...values]);
    expect([...header.tensors.values()].map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(tensors);
    for (const tensor of header.tensors.values()) {
      expect(await readGgufTensor(fixture(name), tensor)).toEqual(content[tensor.name]);
    }
  });

  test('a header of several megabytes', async () => {
    const path = join(directory, 'large.gguf');
    const words = Array.from({ length: 300_000 }, (_, i) => `token ${i}`);
    const large: GgufMetadata = new Map([['words', { type: 'array', value: { of: 'string', values: words } }]]);
    await writeGguf({ path, metadata: large, tensors, read: inPieces });
    const header = await readGgufHeader(path);
    expect(header.headerBytes).toBeGreaterThan(4_000_000);
    const read = header.metadata.get('words')?.value as { of: string; values: readonly string[] };
    expect([read.of, read.values.length, read.values.every((word, i) => word === words[i])]).toEqual([
      'string',
      300_000,
      true,
    ]);
    const tensor = header.tensors.get('cube');
    expect(tensor && (await readGgufTensor(path, tensor))).toEqual(content.cube);
  });

  test('a file that is not there', async () => {
    const error = await refusal(() => readGgufHeader(join(directory, 'none.gguf')));
    expect(error.code).toBe('InvalidModel');
    expect(error.message).toContain('none.gguf cannot be read');
  });
});

describe('a hostile file', () => {
  const real = new Uint8Array(readFileSync(EVERY_TYPE));
  let count = 0;

  /** The error's message; null when the file is taken. Anything but a clear line of a QuantloomError fails the test. */
  async function judge(bytes: Uint8Array): Promise<string | null> {
    const path = join(directory, `hostile-${count++}.gguf`);
    writeFileSync(path, bytes);
    try {
      const header = await readGgufHeader(path);
      for (const { offset, bytes: size } of header.tensors.values()) {
        expect(offset + size).toBeLessThanOrEqual(bytes.length);
      }
      return null;
    } catch (error) {
      if (!(error instanceof QuantloomError)) throw error;
      expect(error.code).toBe('InvalidModel');
      expect(error.message).toMatch(/is not a valid GGUF file: .{5,1000}$/);
      return error.message;
    } finally {
      rmSync(path);
    }
  }

  /** Header with counts, then `rest`: numbers are u32, bigints u64, strings themselves with their length. */
  function built(tensorCount: bigint, keyCount: bigint, ...rest: (number | bigint | string)[]): Uint8Array {
    const parts = [0x46554747, 3, tensorCount, keyCount, ...rest].map((part) => {
      if (typeof part === 'number') return Buffer.from(Uint32Array.of(part).buffer);
      if (typeof part === 'bigint') return Buffer.from(BigUint64Array.of(part).buffer);
      return Buffer.concat([Buffer.from(BigUint64Array.of(BigInt(Buffer.byteLength(part))).buffer), Buffer.from(part)]);
    });
    return new Uint8Array(Buffer.concat(parts));
  }

  const HUGE = 2n ** 63n;
  const ALIGNMENT = ['general.alignment', 4] as const;
  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(), 'truncated'],
    ['another magic number', built(0n, 0n).with(0, 0x58), 'does not begin with "GGUF"'],
    ['version 1', built(0n, 0n).with(4, 1), 'version 1'],
    ['big-endian', built(0n, 0n).with(4, 0).with(7, 3), 'big-endian'],
    ['2^63 tensors', built(HUGE, 0n), 'the number of tensors is 9223372036854775808, over the limit of 262144'],
    ['2^63 keys', built(0n, HUGE), 'the number of metadata keys is 9223372036854775808'],
    ['a key of 2^63 bytes', built(0n, 1n, HUGE), 'over the limit of 65535'],
    ['a string of 2^50 bytes', built(0n, 1n, 'k', 8, 2n ** 50n), 'truncated'],
    ['an array of 2^50 strings', built(0n, 1n, 'k', 9, 8, 2n ** 50n), 'truncated'],
    ['an array of 2^53 numbers', built(0n, 1n, 'k', 9, 0, 2n ** 53n), 'over the limit'],
    ['an array of 2^52 doubles', built(0n, 1n, 'k', 9, 12, 2n ** 52n), 'truncated'],
    [
      'arrays in arrays',
      built(0n, 1n, 'k', 9, ...Array.from({ length: 1000 }, () => [9, 1n] as const).flat()),
      'array of arrays',
    ],
    ['value type 13', built(0n, 1n, 'k', 13, 0), 'value type 13'],
    ['a key twice', built(0n, 2n, 'k', 4, 0, 'k', 4, 0), '"k" stands twice'],
    ['__proto__', built(0n, 2n, '__proto__', 4, 0, '__proto__', 4, 0), '"__proto__" stands twice'],
    ['an alignment of 0', built(0n, 1n, ...ALIGNMENT, 0), 'power of two'],
    ['an alignment of 48', built(0n, 1n, ...ALIGNMENT, 48), 'power of two'],
    ['an alignment that is text', built(0n, 1n, 'general.alignment', 8, 'x'), 'power of two'],
    ['no dimensions', built(1n, 0n, 't', 0, 0, 0n), '0 dimensions'],
    ['2^32 - 1 dimensions', built(1n, 0n, 't', 2 ** 32 - 1), '4294967295 dimensions'],
    ['a dimension of 0', built(1n, 0n, 't', 1, 0n, 0, 0n), 'a dimension of 0'],
    ['dimensions that overflow', built(1n, 0n, 't', 2, 2n ** 40n, 2n ** 40n, 0, 0n), 'a dimension of 1099511627776'],
    ['a type of another program', built(1n, 0n, 't', 1, 256n, 16, 0n), 'type 16 (IQ2_XXS), which cannot be read'],
    ['a type that nobody knows', built(1n, 0n, 't', 1, 256n, 999, 0n), 'type 999'],
    ['half a block', built(1n, 0n, 't', 1, 48n, 2, 0n), 'not a multiple of the 32 of Q4_0'],
    ['an odd offset', built(1n, 0n, 't', 1, 32n, 0, 4n), 'not a multiple of the alignment'],
    ['an offset behind the end', built(1n, 0n, 't', 1, 32n, 0, 2n ** 40n), 'truncated'],
    ['a tensor behind the end', built(1n, 0n, 't', 1, 2n ** 40n, 0, 0n), 'truncated'],
    ['a name of 64 bytes', built(1n, 0n, 'x'.repeat(64), 1, 32n, 0, 0n), 'over the limit of 63'],
  ])('%s is refused by name, value and limit', async (_, bytes, message) => {
    expect(await judge(bytes)).toContain(message);
  });

  test('tensors over each other, or of one name', async () => {
    const two = (second: string) => {
      const infos = built(2n, 0n, 'a', 1, 32n, 0, 0n, second, 1, 32n, 0, 0n);
      return new Uint8Array(Buffer.concat([infos, Buffer.alloc(1024)]));
    };
    expect(await judge(two('b'))).toContain('tensor "b" lies over tensor "a"');
    expect(await judge(two('a'))).toContain('"a" stands twice');
  });

  test('text that is not UTF-8', async () => {
    const bytes = built(0n, 1n, 'k', 8, 'text');
    bytes[bytes.length - 1] = 0xff;
    expect(await judge(bytes)).toContain('the metadata key "k" is not valid UTF-8');
  });

  test('a file cut anywhere is refused', async () => {
    const header = parseGgufHeader(real, real.length);
    const last = [...header.tensors.values()].at(-1);
    const end = (last?.offset ?? 0) + (last?.bytes ?? 0);
    for (let bytes = 0; bytes < end; bytes += 13) expect(await judge(real.subarray(0, bytes))).not.toBeNull();
  });

  test('flipped bytes, or a u64 of any value, anywhere in a real header', async () => {
    const { headerBytes } = parseGgufHeader(real, real.length);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(headerBytes - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }),
        fc.option(fc.tuple(fc.nat(headerBytes - 8), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))),
        async (flips, word) => {
          const mutated = real.slice();
          for (const [at, flip] of flips) mutated[at] = (mutated[at] as number) ^ flip;
          if (word !== null) new DataView(mutated.buffer).setBigUint64(word[0], word[1], true);
          await judge(mutated);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        await judge(bytes);
        const start = built(1n, 2n);
        await judge(new Uint8Array(Buffer.concat([start, bytes])));
      }),
      { numRuns: 500 },
    );
  });

  test('more strings than any vocabulary has', async () => {
    const strings = 2_000_001;
    const bytes = new Uint8Array(8 * strings + 100);
    bytes.set(built(0n, 1n, 'k', 9, 8, BigInt(strings)));
    expect(await judge(bytes)).toContain('2000001 strings, over the limit of 2000000');
  });
});
