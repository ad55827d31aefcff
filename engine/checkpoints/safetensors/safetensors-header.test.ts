import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { QuantloomError } from '../../spec';
import hostile from './fixtures/hostile.json';
import official from './fixtures/official.json';
import { parseSafetensors } from './parse-safetensors';
import { parseSafetensorsHeader } from './safetensors-header';

const officialFile = new Uint8Array(readFileSync(join(__dirname, 'fixtures', 'official.safetensors')));

function framed(header: string, data = ''): Uint8Array {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([length, json, Buffer.from(data)]));
}

/** The error's message; null when the file is taken. Anything but one clear line of a QuantloomError fails the test. */
function refusal(file: Uint8Array): string | null {
  try {
    parseSafetensorsHeader(file, file.byteLength, 'model.safetensors');
    return null;
  } catch (error) {
    if (!(error instanceof QuantloomError)) throw error;
    expect(error.code).toBe('InvalidModel');
    expect(error.retryable).toBe(false);
    expect(error.message).toMatch(/^model\.safetensors is not a valid safetensors file: .{5,2000}$/);
    return error.message;
  }
}

describe('a file of the official library', () => {
  test('is read with every dtype, scalars, empty tensors and odd names', () => {
    const { tensors, metadata } = parseSafetensors(officialFile);
    const content = Object.fromEntries(
      [...tensors].map(([name, { dtype, shape, data }]) => [
        name,
        { dtype, shape, data: Buffer.from(data).toString('hex') },
      ]),
    );
    expect(content).toEqual(official);
    expect(metadata).toEqual({ format: 'pt' });
  });

  test('is read without copying', () => {
    const { tensors } = parseSafetensors(officialFile);
    for (const { data } of tensors.values()) expect(data.buffer).toBe(officialFile.buffer);
  });

  test('has its tensors at absolute offsets', () => {
    const { tensors, dataOffset } = parseSafetensorsHeader(officialFile, officialFile.length, 'f');
    expect(tensors.get('f64')).toEqual({ dtype: 'F64', shape: [], offset: expect.any(Number), bytes: 8 });
    const { offset } = tensors.get('f64') ?? { offset: 0 };
    expect(offset).toBeGreaterThanOrEqual(dataOffset);
    expect(new DataView(officialFile.buffer, officialFile.byteOffset).getFloat64(offset, true)).toBe(0.1);
  });
});

describe('a damaged file', () => {
  // Accepted by the official reader, refused here: each would make something else of a tensor than its author meant.
  const STRICTER = new Set([
    'the same tensor twice',
    'the same tensor twice, once escaped',
    'an unknown field',
    'a tensor as a list',
    'a tensor named __proto__',
    'a tensor named constructor',
    '65 dimensions',
  ]);
  const fileOf = (base64: string) =>
    new Uint8Array(
      Buffer.from(Buffer.from(base64, 'base64').toString('latin1').replace('@NESTED@', '['.repeat(100000)), 'latin1'),
    );

  test.each(hostile)('$name: as the official reader, which $official it', ({ name, file, official }) => {
    expect(refusal(fileOf(file)) === null).toBe(official === 'accepts' && !STRICTER.has(name));
  });

  test('every stricter case is one that the official reader accepts', () => {
    const accepted = hostile.filter(({ official }) => official === 'accepts').map(({ name }) => name);
    expect(accepted).toEqual(expect.arrayContaining([...STRICTER]));
  });

  test.each([
    ['{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}}', '1234', ['"a"', 'byte 5', 'has 4']],
    ['{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,4]}}', '1234', ['"a"', '[2, 3]', '24 bytes', 'span 4']],
    ['{"a":{"dtype":"F31","shape":[],"data_offsets":[0,1]}}', '1', ['"a"', '"F31"', 'F32']],
    ['{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', '1', ['"a"', '"-1"', '2^53 - 1']],
    ['{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', '1', ['"9007199254740993"']],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', '1234', ['3 bytes after', 'belong to no tensor']],
    ['{"\\u001b[31m\\nred":{"dtype":"U8"}}', '', ['\\u001b[31m\\nred', 'no shape']],
  ])('%s is refused by name, value and limit', (header, data, parts) => {
    const message = refusal(framed(header, data));
    for (const part of parts) expect(message).toContain(part);
  });

  test('a length over the limit is refused before the header is read', () => {
    const start = new Uint8Array(8);
    new DataView(start.buffer).setBigUint64(0, 100_000_001n, true);
    expect(() => parseSafetensorsHeader(start, 2 ** 40, 'big.safetensors')).toThrow(
      'the header claims 100000001 bytes, over the limit of 100000000',
    );
  });

  test('a name or number of 5 MB makes a short message', () => {
    const name = 'x'.repeat(5_000_000);
    expect(refusal(framed(`{"${name}":1}`))?.length).toBeLessThan(1000);
    expect(refusal(framed(`{"a":{"dtype":"${name}","shape":[],"data_offsets":[0,1]}}`, '1'))?.length).toBeLessThan(
      1000,
    );
    expect(refusal(framed(`{"a":{"dtype":"U8","shape":[${'9'.repeat(5_000_000)}]}}`))?.length).toBeLessThan(1000);
  });
});

describe('fuzzing', () => {
  test('any bytes either parse or are refused with one clear error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        refusal(bytes);
        refusal(framed(Buffer.from(bytes).toString('latin1')));
      }),
      { numRuns: 500 },
    );
  });

  test('any JSON either parses or is refused with one clear error', () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (json, data) => void refusal(framed(json, data))),
      { numRuns: 500 },
    );
  });

  test('a header with one token replaced never yields a tensor outside the file', () => {
    const header =
      '{"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}';
    const tokens: string[] = header.match(/"[^"]*"|\d+|[[\]{}:,]/g) ?? [];
    const replacement = fc.oneof(
      fc.constantFrom(
        '"a"',
        '"b"',
        '"dtype"',
        '"U8"',
        '"F64"',
        '"__metadata__"',
        '{',
        '}',
        '[',
        ']',
        ',',
        '',
        '-1',
        '1e9',
      ),
      fc.integer({ min: 0, max: 12 }).map(String),
      fc.bigInt({ min: 0n, max: 2n ** 65n }).map(String),
    );
    fc.assert(
      fc.property(fc.nat(tokens.length - 1), fc.nat(tokens.length - 1), replacement, replacement, (i, j, x, y) => {
        const text = tokens.with(i, x).with(j, y).join('');
        const file = framed(text, '12345678');
        if (refusal(file) !== null) return;
        let covered = 0;
        for (const { data } of parseSafetensors(file).tensors.values()) covered += data.byteLength;
        expect(covered).toBe(8);
      }),
      { numRuns: 2000 },
    );
  });

  test('a cut or a flipped byte of a real file never yields a tensor outside the file', () => {
    fc.assert(
      fc.property(fc.nat(officialFile.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        expect(refusal(officialFile.slice(0, at))).not.toBeNull();
        const flipped = officialFile.slice();
        flipped[at] = (flipped[at] as number) ^ flip;
        if (refusal(flipped) === null) parseSafetensors(flipped);
      }),
      { numRuns: 500 },
    );
  });
});
