import fc from 'fast-check';
import type { NativeAddon, NativeAttention } from './native-addon';
import { selectKernels } from './select-kernels';

const { native, why } = selectKernels('native');
// Where there are no native kernels attention is onnxruntime's.
const each = native ? test : (name: string, _: unknown) => test(`${name}: ${why}`, () => undefined);
const addon = native as NativeAddon;

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(0.37 * i * i + i + seed));

interface Inputs {
  readonly query: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
  readonly options: NativeAttention;
}

function inputsOf(sequences: number, options: NativeAttention): Inputs {
  const tokens = sequences * options.sequenceLength;
  const keys = tokens * options.keyValueHeads * options.headSize;
  return {
    query: numbers(tokens * options.heads * options.headSize, 1),
    key: numbers(keys, 2),
    value: numbers(keys, 3),
    options,
  };
}

function contextOf({ query, key, value, options }: Inputs): Float32Array {
  const context = new Float32Array(query.length).fill(Number.NaN);
  addon.causalAttention(query, key, value, context, options);
  return context;
}

/** Softmax attention of one query in float64. */
function expectedRow({ query, key, value, options }: Inputs, token: number, head: number): number[] {
  const { sequenceLength, heads, keyValueHeads, headSize, window = sequenceLength } = options;
  const { scale = 1 / Math.sqrt(headSize), cap } = options;
  const row = query.subarray((token * heads + head) * headSize).subarray(0, headSize);
  const shared = Math.floor(head / (heads / keyValueHeads));
  const start = token - (token % sequenceLength);
  const first = Math.max(start, token + 1 - window);
  const visible = Array.from({ length: token - first + 1 }, (_, i) => {
    const at = ((first + i) * keyValueHeads + shared) * headSize;
    return { key: key.subarray(at, at + headSize), value: value.subarray(at, at + headSize) };
  });
  const scores = visible.map(({ key }) => {
    const score = row.reduce((sum, q, d) => sum + q * (key[d] as number), 0) * scale;
    return cap === undefined ? score : cap * Math.tanh(score / cap);
  });
  const largest = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - largest));
  const sum = weights.reduce((a, b) => a + b);
  return Array.from(
    row,
    (_, d) => weights.reduce((mix, weight, i) => mix + weight * (visible[i]?.value[d] as number), 0) / sum,
  );
}

const shapes = fc.record({
  sequences: fc.integer({ min: 1, max: 3 }),
  sequenceLength: fc.integer({ min: 1, max: 70 }),
  keyValueHeads: fc.integer({ min: 1, max: 3 }),
  sharing: fc.integer({ min: 1, max: 3 }),
  headSize: fc.integer({ min: 1, max: 70 }),
  threads: fc.integer({ min: 1, max: 3 }),
});

/** Of every second shape or so. */
const variations = fc.record(
  {
    window: fc.integer({ min: 1, max: 70 }),
    scale: fc.double({ min: 0.01, max: 0.1, noNaN: true }),
    cap: fc.double({ min: 0.5, max: 50, noNaN: true }),
  },
  { requiredKeys: [] },
);

each('softmax attention to all tokens of a sequence so far, or to those in a window, any shape', () => {
  fc.assert(
    fc.property(shapes, variations, ({ sequences, sharing, ...shape }, variation) => {
      const inputs = inputsOf(sequences, { ...shape, ...variation, heads: shape.keyValueHeads * sharing });
      const { heads, headSize, sequenceLength } = inputs.options;
      const context = contextOf(inputs);
      let worst = 0;
      for (let at = 0; at < context.length / headSize; at++) {
        const expected = expectedRow(inputs, Math.floor(at / heads), at % heads);
        for (const [d, x] of expected.entries()) {
          worst = Math.max(worst, Math.abs((context[at * headSize + d] as number) - x));
        }
      }
      // Queries, keys and values are within (-1, 1): see the bound in native/src/attention.rs.
      const scale = variation.scale ?? 1 / Math.sqrt(headSize);
      const ofScores = (headSize + 2) * headSize * scale + 6 * (variation.cap ?? 0);
      expect(worst).toBeLessThanOrEqual((2 * ofScores + 2 * sequenceLength + 30) * 2 ** -24);
    }),
    { numRuns: 50 },
  );
});

each('the bytes are the same for all threads and instruction sets', () => {
  const options = { sequenceLength: 150, heads: 6, keyValueHeads: 2, headSize: 64, threads: 1 };
  const inputs = inputsOf(2, options);
  const expected = contextOf(inputs);
  const before = addon.instructionSet();
  for (const set of ['avx512', 'avx2', 'neon'].filter((name) => addon.useInstructionSet(name))) {
    for (const threads of [1, 2, 3]) {
      const found = contextOf({ ...inputs, options: { ...options, threads } });
      expect({ set, threads, same: Buffer.from(found.buffer).equals(Buffer.from(expected.buffer)) }).toEqual({
        set,
        threads,
        same: true,
      });
    }
  }
  addon.useInstructionSet(before);
});

each('arrays that do not fit each other are refused', () => {
  const options = { sequenceLength: 4, heads: 4, keyValueHeads: 2, headSize: 8, threads: 1 };
  const inputs = inputsOf(2, options);
  const short = inputs.key.subarray(1);
  const withOptions = (changed: Partial<NativeAttention>) => ({ ...inputs, options: { ...options, ...changed } });
  expect(() => contextOf({ ...inputs, key: short })).toThrow('an array has 127 elements, expected 128');
  expect(() => contextOf({ ...inputs, value: short })).toThrow('an array has 127 elements, expected 128');
  expect(() => contextOf({ ...inputs, query: inputs.query.subarray(1) })).toThrow('an array has 255 elements');
  expect(() => contextOf(withOptions({ sequenceLength: 3 }))).toThrow('an array has 256 elements');
  expect(() => contextOf(withOptions({ keyValueHeads: 3 }))).toThrow('4 heads cannot share 3 heads');
  expect(() => contextOf(withOptions({ window: 0 }))).toThrow('a window is at least 1');
  expect(() => contextOf(withOptions({ headSize: 0 }))).toThrow('at least 1');
});
