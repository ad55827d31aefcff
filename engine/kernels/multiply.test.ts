import fc from 'fast-check';
import { bfloat16Bits, bfloat16Value } from '../numbers';
import { dequantize } from '../quantizers';
import type { NativeAddon } from './native-addon';
import { selectKernels } from './select-kernels';

const { native, why } = selectKernels('native');
// Where there are no native kernels there is no such product.
const each = native ? test : (name: string, _: unknown) => test(`${name}: ${why}`, () => undefined);
const addon = native as NativeAddon;

// Another file of this process may have let products use AMX, which adds in another order.
beforeEach(() => {
  native?.useAmx(false);
});

const narrow = (values: Float32Array) => values.map((value) => bfloat16Value(bfloat16Bits(value)));

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(0.37 * i * i + i + seed));

function packed(weight: Float32Array, rows: number, columns: number): Uint32Array {
  const words = new Uint32Array(addon.packedLength(rows, columns));
  addon.packLinear(weight, rows, columns, words);
  return words;
}

const shapes = fc.record({
  tokens: fc.integer({ min: 1, max: 210 }),
  columns: fc.integer({ min: 1, max: 130 }),
  rows: fc.integer({ min: 1, max: 110 }),
  biased: fc.boolean(),
  threads: fc.integer({ min: 1, max: 3 }),
});

each('a linear of factors rounded to bfloat16, any shape', () => {
  fc.assert(
    fc.property(shapes, ({ tokens, columns, rows, biased, threads }) => {
      const [x, weight] = [numbers(tokens * columns, 1), numbers(rows * columns, 2)];
      const bias = biased ? numbers(rows, 3) : null;
      const y = new Float32Array(tokens * rows).fill(Number.NaN);
      addon.multiplyLinear(x, columns, packed(weight, rows, columns), rows, bias, y, threads);
      const [a, b] = [narrow(x), narrow(weight)];
      let worst = 0;
      for (const [at, found] of y.entries()) {
        const [token, row] = [Math.floor(at / rows), at % rows];
        let [expected, size] = [bias?.[row] ?? 0, Math.abs(bias?.[row] ?? 0)];
        for (let column = 0; column < columns; column++) {
          const term = (a[token * columns + column] as number) * (b[row * columns + column] as number);
          expected += term;
          size += Math.abs(term);
        }
        worst = Math.max(worst, Math.abs(found - expected) / size);
      }
      expect(worst).toBeLessThanOrEqual((columns + 2) * 2 ** -24);
    }),
    { numRuns: 25 },
  );
});

each('linears that share an input get the bytes that each gets alone, at every instruction set', () => {
  const [tokens, columns] = [100, 577];
  const x = numbers(tokens * columns, 1);
  const linears = [192, 50, 1].map((rows, i) => ({
    packed: packed(numbers(rows * columns, rows), rows, columns),
    rows,
    bias: i === 1 ? numbers(rows, 9) : null,
    y: new Float32Array(tokens * rows),
  }));
  const set = addon.instructionSet();
  try {
    for (const { packed, rows, bias, y } of linears) addon.multiplyLinear(x, columns, packed, rows, bias, y, 1);
    for (const other of ['avx512', 'avx2', 'neon'].filter((name) => addon.useInstructionSet(name))) {
      const again = linears.map((linear) => ({ ...linear, y: new Float32Array(linear.y.length) }));
      addon.multiplyLinears(x, columns, again, 2);
      expect([other, ...again.map(({ y }) => y)]).toEqual([other, ...linears.map(({ y }) => y)]);
    }
  } finally {
    addon.useInstructionSet(set);
  }
});

each('a quantized weight is packed as its dequantized copy is', () => {
  const [rows, columns, groupSize] = [130, 96, 32];
  const groups = columns / groupSize;
  const linear = {
    kind: 'affine',
    rows,
    columns,
    bits: 4,
    groupSize,
    symmetric: false,
    codes: Uint8Array.from({ length: rows * columns }, (_, i) => (i * 7 + (i >> 5)) & 15),
    zeros: Uint8Array.from({ length: rows * groups }, (_, i) => (i * 5) & 15),
    scales: numbers(rows * groups, 4).map(Math.abs),
    groupOf: Int32Array.from({ length: columns }, (_, column) => (column * 3) % groups),
  } as const;
  const words = new Uint32Array(addon.packedLength(rows, columns));
  addon.packLinearFromCodes(linear, words);
  expect(words).toEqual(packed(dequantize(linear), rows, columns));
});

each('arrays that do not fit each other are refused', () => {
  const words = packed(numbers(6, 1), 2, 3);
  expect(() => addon.packLinear(numbers(5, 1), 2, 3, words)).toThrow('5 elements, expected 6');
  const y = new Float32Array(4);
  expect(() => addon.multiplyLinear(numbers(7, 1), 3, words, 2, null, y, 1)).toThrow('7 elements, expected 6');
  expect(() => addon.multiplyLinear(numbers(9, 1), 3, words, 2, null, y, 1)).toThrow('4 elements, expected 6');
  expect(() => addon.multiplyLinear(numbers(6, 1), 3, words, 2, numbers(3, 1), y, 1)).toThrow('3 elements, expected 2');
});
