import fc from 'fast-check';
import { createGram } from './gram';
import type { NativeAddon } from './native-addon';
import { selectKernels } from './select-kernels';

const { native, why } = selectKernels('native');
// Where there are no native kernels there is nothing to compare with.
const each = native ? test : (name: string, _: unknown) => test(`${name}: ${why}`, () => undefined);
const addon = native as NativeAddon;

/** Products of these are exact in float32, and so are sums of a few hundred. */
const shapes = fc.record({
  columns: fc.integer({ min: 1, max: 130 }),
  batches: fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 4 }),
  seed: fc.integer(),
});

const bytesOf = (matrix: Float32Array = new Float32Array()) => new Uint8Array(matrix.buffer);

function wholeNumbers(count: number, seed: number): Float32Array {
  let state = seed | 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 24) - 128;
  });
}

test('the sum of outer products, from both halves of a batch', () => {
  const gram = createGram({ columns: 2, native: null });
  gram.add(Float32Array.of(1, 2, 3, 4));
  gram.add(Float32Array.of(-1, 1));
  expect([...gram.matrix()]).toEqual([11, 13, 13, 21]);
});

each('native sums of exact products equal the reference at both precisions, any shape, any threads', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 3 }), ({ columns, batches, seed }, threads) => {
      for (const precision of ['float32', 'bfloat16'] as const) {
        const [ours, reference] = [addon, null].map((kernels) =>
          createGram({ columns, precision, threads, native: kernels }),
        );
        for (const [i, tokens] of batches.entries()) {
          const x = wholeNumbers(tokens * columns, seed + i);
          ours?.add(x);
          reference?.add(x);
        }
        expect(Buffer.from(bytesOf(ours?.matrix())).equals(bytesOf(reference?.matrix()))).toBe(true);
      }
    }),
    { numRuns: 40 },
  );
});

each('bfloat16 rounds the factors, and nothing else by more than float32 does', () => {
  const columns = 100;
  const x = Float32Array.from({ length: 900 * columns }, (_, i) => Math.sin(0.37 * i * i + i));
  const [ours, reference] = [addon, null].map((kernels) => {
    const gram = createGram({ columns, precision: 'bfloat16', native: kernels });
    gram.add(x);
    return gram.matrix();
  }) as [Float32Array, Float32Array];
  const norm = Math.hypot(...reference);
  expect(Math.hypot(...ours.map((value, i) => value - (reference[i] as number))) / norm).toBeLessThan(1e-6);
});

each('a row with NaN, Infinity or a square past float32 has no finite energy', () => {
  const x = Float32Array.of(3, 4, 0, Number.NaN, Number.POSITIVE_INFINITY, 1, 2e19, 0, -1, 1);
  expect([...addon.rowEnergies(x, 2, 1)]).toEqual([
    25,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    2,
  ]);
});
