import fc from 'fast-check';
import { bitPlanes, GPTQ_LAYOUTS } from '../checkpoints/gptq/layout';
import { packWords, unpackWords } from '../checkpoints/pack-words';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../numbers';
import { dequantize, mergeHessians } from '../quantizers';
import type { NativeAddon } from './native-addon';
import { preferKernels, selectKernels } from './select-kernels';

const { native, why } = selectKernels('native');
// Where there are no native kernels there is nothing to compare with.
const each = native ? test : (name: string, _: unknown) => test(`${name}: ${why}`, () => undefined);

afterEach(() => preferKernels('native'));

/** The bytes that `work` gives with the native kernels, and those with the TypeScript ones. */
function both(work: () => ArrayBufferView): [Buffer, Buffer] {
  const [ours, reference] = (['native', 'typescript'] as const).map((choice) => {
    preferKernels(choice);
    const { buffer, byteOffset, byteLength } = work();
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  });
  return [ours as Buffer, reference as Buffer];
}

function expectSame(work: () => ArrayBufferView): void {
  const [ours, reference] = both(work);
  expect(ours.equals(reference)).toBe(true);
}

function noise(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

each('every 16-bit pattern becomes the same float32, NaN payloads included', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  expectSame(() => decodeFloat16(all));
  expectSame(() => decodeBfloat16(all));
  const shared = new Uint16Array(new SharedArrayBuffer(131072));
  shared.set(all);
  expectSame(() => decodeFloat16(shared.subarray(1)));
});

each('float32 becomes the same 16-bit patterns: around every tie, and for random bits', () => {
  const bits: number[] = [];
  for (let upper = 0; upper < 65536; upper++) {
    for (const lower of [0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff])
      bits.push(upper * 65536 + lower);
  }
  const next = noise(7);
  for (let i = 0; i < 500_001; i++) bits.push(next());
  const values = new Float32Array(Uint32Array.from(bits).buffer);
  expectSame(() => encodeFloat16(values));
  expectSame(() => encodeBfloat16(values));
  expectSame(() => encodeFloat16(values.subarray(3), new Uint16Array(values.length)));
});

each('codes become the same weights, with groups in sequence and in any order', () => {
  fc.assert(
    fc.property(
      fc.record({
        columns: fc.integer({ min: 40, max: 200 }),
        groupSize: fc.constantFrom(1, 16, 32, 128),
        sequential: fc.boolean(),
        seed: fc.integer(),
      }),
      ({ columns, groupSize, sequential, seed }) => {
        const next = noise(seed);
        const rows = 103;
        const groups = Math.ceil(columns / groupSize);
        const byte = () => next() & 255;
        const linear = {
          rows,
          columns,
          kind: 'affine',
          bits: 8,
          groupSize,
          symmetric: false,
          codes: Uint8Array.from({ length: rows * columns }, byte),
          zeros: Uint8Array.from({ length: rows * groups }, byte),
          scales: Float32Array.from({ length: rows * groups }, () => next() / 2 ** 35),
          groupOf: Int32Array.from({ length: columns }, (_, column) =>
            sequential ? Math.floor(column / groupSize) : next() % groups,
          ),
        } as const;
        expectSame(() => dequantize(linear));
      },
    ),
    { numRuns: 30 },
  );
});

each('codes of every width and layout become the same words, in both directions, along rows and along columns', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(2, 3, 4, 5, 6, 7, 8),
      fc.constantFrom(...GPTQ_LAYOUTS),
      fc.integer({ min: 60, max: 140 }),
      fc.integer({ min: 3, max: 6 }),
      fc.boolean(),
      fc.integer(),
      (bits, layout, lanes, blocks, alongRows, seed) => {
        const next = noise(seed);
        const length = 32 * blocks;
        const geometry = alongRows
          ? { lanes, length, codes: { lane: length, item: 1 }, words: { lane: 1, item: lanes } }
          : { lanes, length, codes: { lane: 1, item: lanes }, words: { lane: (length * bits) / 32, item: 1 } };
        const planes = bitPlanes(bits, layout);
        // Bits above the width are not packed.
        const codes = Uint8Array.from({ length: lanes * length }, () => next() & 255);
        expectSame(() => packWords(codes, planes, geometry));
        const words = packWords(codes, planes, geometry);
        expectSame(() => unpackWords(words, planes, geometry));
        expect(
          Buffer.from(unpackWords(words, planes, geometry)).equals(codes.map((code) => code & (2 ** bits - 1))),
        ).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

each('partial Hessians have the same mean for any number of threads', async () => {
  const next = noise(5);
  for (const columns of [1, 63, 130]) {
    const partials = [5, 17, 1].map((tokens) => ({
      gram: Float32Array.from({ length: columns * columns }, () => next() / 2 ** 20 - 2048),
      tokens,
    }));
    const { hessian: reference } = await mergeHessians(partials, { native: null });
    for (const threads of [1, 3]) {
      const { hessian } = await mergeHessians(partials, { native: native as NativeAddon, threads });
      expect(Buffer.from(hessian.buffer).equals(Buffer.from(reference.buffer))).toBe(true);
    }
  }
});

each('arrays that do not belong together are refused, not read past their end', () => {
  const addon = native as NativeAddon;
  expect(() => addon.decodeFloats('float16', new Uint16Array(4), new Float32Array(3))).toThrow(/expected 4/);
  const linear = {
    rows: 2,
    columns: 2,
    codes: new Uint8Array(4),
    zeros: new Uint8Array(2),
    scales: new Float32Array(2),
  };
  expect(() => addon.dequantize({ ...linear, groupOf: Int32Array.of(0, 1) }, new Float32Array(4))).toThrow(
    /group 1 of 1/,
  );
  const geometry = { lanes: 2, length: 32, codes: { lane: 32, item: 1 }, words: { lane: 1, item: 2 } };
  const short = new Uint8Array(63);
  expect(() => addon.packWords(short, [{ width: 4, shift: 0 }], geometry, new Int32Array(8))).toThrow(/native kernel/);
});
