import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { bytesOf, encodeFloats } from '../../numbers';
import { DTYPE_BITS, type DType, elementCount, type Tensor } from '../../spec';
import { parseSafetensors } from './parse-safetensors';
import { layoutSafetensors, serializeSafetensors } from './serialize-safetensors';

const fixture = (name: string) => new Uint8Array(readFileSync(join(__dirname, 'fixtures', name)));

const dtype = fc.constantFrom(...(Object.keys(DTYPE_BITS) as DType[]));
const tensor: fc.Arbitrary<Tensor> = fc
  .tuple(dtype, fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }))
  .chain(([dtype, shape]) => {
    const bytes = (elementCount(shape) * DTYPE_BITS[dtype]) / 8;
    return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((data) => ({ dtype, shape, data }));
  });
const name = fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => !(text in {}) && text !== '__metadata__');
const tensors = fc.array(fc.tuple(name, tensor), { maxLength: 8 }).map((pairs) => new Map(pairs));

describe('serializeSafetensors', () => {
  test('writes the bytes that the official library writes, whatever order the tensors come in', () => {
    const official = fixture('official.safetensors');
    const { tensors } = parseSafetensors(official);
    expect(Buffer.from(serializeSafetensors(tensors)).equals(official)).toBe(true);
    expect(Buffer.from(serializeSafetensors(new Map([...tensors].reverse()))).equals(official)).toBe(true);
  });

  // test/oracles/safetensors_files.py reads this file back with the official library and compares the values.
  test('writes the file that the official library was seen to read', () => {
    const file = serializeSafetensors(
      new Map<string, Tensor>([
        [
          'layer.scales',
          { dtype: 'F16', shape: [2, 2], data: encodeFloats(Float32Array.of(0.5, -1, 65504, 2 ** -24), 'F16') },
        ],
        ['layer.norm', { dtype: 'BF16', shape: [3], data: encodeFloats(Float32Array.of(1.5, -3, 2), 'BF16') }],
        ['layer.qweight', { dtype: 'I32', shape: [1, 3], data: bytesOf(Int32Array.of(-1, 2 ** 31 - 1, -(2 ** 31))) }],
        ['layer.ü', { dtype: 'U8', shape: [5], data: Uint8Array.of(0, 1, 2, 3, 4) }],
        ['steps', { dtype: 'I64', shape: [], data: bytesOf(BigInt64Array.of(-2n)) }],
        ['none', { dtype: 'F32', shape: [0, 4], data: new Uint8Array(0) }],
      ]),
      { 'quantized by': 'quantloom ✓', format: 'pt' },
    );
    expect(Buffer.from(file).equals(fixture('quantloom.safetensors'))).toBe(true);
  });

  test('gives back what went in, and starts the data at a multiple of 8', () => {
    const metadata = fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), { maxKeys: 4 });
    fc.assert(
      fc.property(tensors, metadata, (tensors, metadata) => {
        const file = serializeSafetensors(tensors, metadata);
        const parsed = parseSafetensors(file);
        expect(new Map([...parsed.tensors].sort())).toEqual(new Map([...tensors].sort()));
        expect(Object.entries(parsed.metadata).sort()).toEqual(Object.entries(metadata).sort());
        expect(new DataView(file.buffer).getUint32(0, true) % 8).toBe(0);
      }),
    );
  });

  test('says where each tensor goes without having its bytes', () => {
    const layout = layoutSafetensors(
      new Map([
        ['b', { dtype: 'F16' as const, shape: [3] }],
        ['a', { dtype: 'F16' as const, shape: [2] }],
        ['z', { dtype: 'I32' as const, shape: [1] }],
      ]),
    );
    expect(layout.order).toEqual(['z', 'a', 'b']);
    expect(layout.fileBytes).toBe(layout.header.length + 4 + 4 + 6);
    expect(Buffer.from(layout.header.subarray(8)).toString().trimEnd()).toBe(
      '{"__metadata__":{"format":"pt"},"z":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},' +
        '"a":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},"b":{"dtype":"F16","shape":[3],"data_offsets":[8,14]}}',
    );
  });

  test.each(['__metadata__', '__proto__', 'constructor', '\ud83e'])('refuses the name %j', (name) => {
    const scalar: Tensor = { dtype: 'U8', shape: [], data: new Uint8Array(1) };
    expect(() => serializeSafetensors(new Map([[name, scalar]]))).toThrow('is not allowed');
  });

  test('refuses bytes that do not match the shape, and shapes that are none', () => {
    const write = (shape: number[]) =>
      serializeSafetensors(new Map<string, Tensor>([['w', { dtype: 'F16', shape, data: new Uint8Array(4) }]]));
    expect(() => write([3])).toThrow('Tensor "w" of dtype F16 and shape [3] takes 6 bytes, but 4 were given.');
    expect(() => write([-1, -2])).toThrow('non-negative integers');
    expect(() => write([0.5, 4])).toThrow('non-negative integers');
  });
});
