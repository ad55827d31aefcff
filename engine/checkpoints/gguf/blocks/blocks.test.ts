import { join } from 'node:path';
import fc from 'fast-check';
import { bytesOf, decodeFloats, float32View } from '../../../numbers';
import { packageRoot } from '../../../sources';
import { QuantloomError } from '../../../spec';
import { readSafetensorsHeader, readTensor } from '../../safetensors';
import { BLOCK_TYPE_NAMES, type BlockTypeName } from './block-type';
import { BLOCK_TYPES, blockBytesOf, blockTypeOfId } from './block-types';
import { decodeBlocks, encodeBlocks } from './encode-blocks';
import decoded from './fixtures/decoded-blocks.json';
import encoded from './fixtures/encoded-blocks.json';
import searchErrors from './fixtures/search-errors.json';

// The fixtures are made by test/oracles/gguf_blocks.py.
const bytes = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const FILE = 'model.safetensors';
const SEARCHED = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS'] as const;

/** The indices at which two arrays differ, NaNs of any payload being equal. */
function differences(found: Float32Array, expected: Float32Array): number[] {
  return [...expected.keys()].filter((i) => !Object.is(found[i], expected[i]));
}

describe('decoding', () => {
  test.each(BLOCK_TYPE_NAMES)('%s: random bytes become the numbers of gguf-py, bit for bit', (name) => {
    const fixture = decoded[name];
    const type = BLOCK_TYPES[name];
    expect({ name: type.name, id: type.id, sizes: [type.blockSize, type.blockBytes] }).toEqual({
      name,
      id: fixture.id,
      sizes: fixture.sizes,
    });
    expect(blockTypeOfId(fixture.id)).toBe(type);
    const values = decodeBlocks(type, bytes(fixture.blocks));
    const expected = float32View(bytes(fixture.values));
    expect(values.length).toBe(expected.length);
    expect(differences(values, expected)).toEqual([]);
  });

  test('an id that is not known here has no entry', () => {
    expect(blockTypeOfId(4)).toBeNull();
    expect(blockTypeOfId(9999)).toBeNull();
  });
});

describe('encoding by a rule', () => {
  const values = float32View(bytes(encoded.values));
  const rowNames = [
    'normal',
    'heavy tails',
    'zeros of both signs',
    'ties',
    'half steps',
    'subnormal',
    'small',
    'huge',
    'all positive',
    'all negative',
    'ternary',
    'ternary ties',
    'next to powers of two',
    'E2M1 ties',
    'all the same',
  ];

  test.each(Object.keys(encoded.blocks) as (keyof typeof encoded.blocks)[])('%s: bytes as gguf-py', (name) => {
    const type = BLOCK_TYPES[name];
    const expected = bytes(encoded.blocks[name]);
    const rowBytes = blockBytesOf(type, 1, encoded.columns);
    const wrong = rowNames.filter((_, row) => {
      const part = values.slice(row * encoded.columns, (row + 1) * encoded.columns);
      const input = name === 'MXFP4' ? part.map((x) => (Math.abs(x) < 2 ** -100 ? 0 : x)) : part;
      const found = new Uint8Array(rowBytes);
      type.encode(input, found);
      return !Buffer.from(found).equals(expected.subarray(row * rowBytes, (row + 1) * rowBytes));
    });
    expect(encoded.rows).toBe(rowNames.length);
    expect(wrong).toEqual([]);
  });

  test('F32 keeps every bit', () => {
    const blocks = new Uint8Array(values.byteLength);
    BLOCK_TYPES.F32.encode(values, blocks);
    expect(Buffer.from(blocks).equals(Buffer.from(bytesOf(values)))).toBe(true);
  });

  test('MXFP4 makes zeros of what is smaller than its smallest scale', () => {
    const tiny = new Float32Array(32).fill(2 ** -149);
    const blocks = encodeBlocks({ type: BLOCK_TYPES.MXFP4, values: tiny, columns: 32, name: 'w' });
    expect([...decodeBlocks(BLOCK_TYPES.MXFP4, blocks)].every((x) => x === 0)).toBe(true);
  });
});

describe('encoding by search', () => {
  const model = join(packageRoot(), 'assets', 'demo-model');

  /** As in the oracle: heavy-tailed, as mean squares of activations are. */
  function importanceOf(columns: number): Float32Array {
    return Float32Array.from({ length: columns }, (_, column) => (((column * 37) % 101) + 1) ** 3 / 50 ** 3);
  }

  function weightedError(values: Float32Array, name: BlockTypeName, importance: Float32Array, given = importance) {
    const type = BLOCK_TYPES[name];
    const blocks = encodeBlocks({ type, values, columns: importance.length, importance: given, name });
    return errorOf(values, decodeBlocks(type, blocks), importance);
  }

  function errorOf(values: Float32Array, approximations: Float32Array, importance: Float32Array) {
    let error = 0;
    for (let i = 0; i < values.length; i++) {
      const difference = (values[i] as number) - (approximations[i] as number);
      error += (importance[i % importance.length] as number) * difference ** 2;
    }
    return error;
  }

  describe.each(Object.entries(searchErrors))('%s', (tensor, errors) => {
    let values: Float32Array;
    let importance: Float32Array;
    beforeAll(async () => {
      const header = await readSafetensorsHeader(join(model, FILE));
      const location = header.tensors.get(tensor);
      if (location === undefined) throw new Error(`${tensor} is gone from the demo model`);
      const columns = location.shape[1] as number;
      const all = decodeFloats(await readTensor(model, { ...location, name: tensor, file: FILE }));
      values = all.slice(0, 64 * columns);
      importance = importanceOf(columns);
    });

    test.each(Object.entries(errors))("%s: the weighted error is below llama.cpp's", (name, error) => {
      const ours = weightedError(values, name as BlockTypeName, importance);
      expect(ours).toBeLessThan(error);
    });

    test.each(SEARCHED)('%s: importance helps where it is given', (name) => {
      const equal = new Float32Array(importance.length).fill(1);
      expect(weightedError(values, name, importance)).toBeLessThan(weightedError(values, name, importance, equal));
    });
  });

  test.each([...SEARCHED, 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const)(
    '%s: zeros, one value, one sign, tiny and huge weights, and columns of no importance give finite numbers',
    (name) => {
      const type = BLOCK_TYPES[name];
      const rows = float32View(bytes(encoded.values));
      const importance = new Float32Array(256).map((_, column) => (column < 64 ? 0 : column % 3));
      for (let row = 0; row < encoded.rows; row++) {
        const values = rows.slice(row * 256, (row + 1) * 256);
        const found = decodeBlocks(type, encodeBlocks({ type, values, columns: 256, importance, name }));
        const most = values.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
        expect(found.every(Number.isFinite)).toBe(true);
        expect(found.every((x) => Math.abs(x) <= 1.3 * most + 1e-7)).toBe(true);
      }
    },
  );

  test.each([...SEARCHED, 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const)(
    '%s: no block is worse than one made of zeros',
    (name) => {
      const weight = fc.oneof(
        fc.double({ min: -1, max: 1, noNaN: true }),
        fc.constantFrom(0, 1e-3, -1e-3, 100, -60000, 1e-30),
      );
      fc.assert(
        fc.property(fc.array(weight, { minLength: 256, maxLength: 256 }), (weights) => {
          const values = Float32Array.from(weights);
          const importance = new Float32Array(256).fill(1);
          const zeros = errorOf(values, new Float32Array(256), importance);
          expect(weightedError(values, name, importance)).toBeLessThanOrEqual(zeros);
        }),
        { numRuns: 100 },
      );
    },
  );
});

describe('what cannot be encoded', () => {
  const values = new Float32Array(256).fill(1);

  function refusal(act: () => unknown): QuantloomError {
    try {
      act();
    } catch (error) {
      if (QuantloomError.is(error)) return error;
    }
    throw new Error('it was taken');
  }

  test('rows that are not whole blocks', () => {
    const error = refusal(() => encodeBlocks({ type: BLOCK_TYPES.Q4_K, values, columns: 128, name: 'w' }));
    expect(error.code).toBe('UnsupportedInput');
    expect(error.message).toContain('blocks of 256 weights, but a row has 128');
  });

  test.each([Number.NaN, Infinity, 70000])('a weight of %d, by name and place', (bad) => {
    const error = refusal(() =>
      encodeBlocks({ type: BLOCK_TYPES.Q8_0, values: values.with(69, bad), columns: 64, name: 'blk.0.attn_q' }),
    );
    expect(error.code).toBe('NonFiniteWeights');
    expect(error.message).toContain(`blk.0.attn_q: the weight at row 1, column 5 is ${bad}`);
  });

  test('importance of another length, or negative', () => {
    const encode = (importance: Float32Array) =>
      refusal(() => encodeBlocks({ type: BLOCK_TYPES.Q4_0, values, columns: 64, importance, name: 'w' }));
    expect(encode(new Float32Array(32)).message).toContain('32 values for 64 columns');
    expect(encode(new Float32Array(64).with(3, -1)).message).toContain('column 3 is -1');
  });
});
