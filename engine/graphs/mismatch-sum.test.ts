import type { KernelChoice } from '../kernels';
import { MismatchSum } from './mismatch-sum';

const [sequences, sequenceLength, rows, columns] = [40, 32, 24, 40];

function wave(count: number, step: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(step * i + (i % 7)));
}

const linear = { name: 'down', role: 'down', rows, columns, bias: true } as const;
const [weight, bias] = [wave(rows * columns, 0.19), wave(rows, 0.3)];
const weights = new Map([
  ['down.weight', { shape: [rows, columns], data: weight }],
  ['down.bias', { shape: [rows], data: bias }],
]);
const tokens = sequences * sequenceLength;

const activations = () => ({
  hidden: wave(tokens * rows, 0.11),
  original: wave(tokens * rows, 0.17),
  captured: wave(tokens * columns, 0.23),
});

interface Setting {
  readonly kernels: KernelChoice;
  readonly precision?: 'float32' | 'bfloat16';
  readonly threads?: number;
}

async function sumOf({ captured, ...given }: ReturnType<typeof activations>, { threads = 1, ...others }: Setting) {
  const sum = new MismatchSum({ linear, input: 'product', gram: true, weights, sequenceLength, threads, ...others });
  const perBatch = 24;
  for (let first = 0; first < sequences; first += perBatch) {
    const count = Math.min(perBatch, sequences - first);
    const part = (array: Float32Array, features: number) =>
      array.slice(first * sequenceLength * features, (first + count) * sequenceLength * features);
    const original = part(given.original, rows);
    if (original.length === 0) continue;
    await sum.add({ hidden: part(given.hidden, rows), original, input: part(captured, columns), threads });
  }
  return sum.total();
}

/** In plain loops, by halves, without some sequences. */
function expected({ hidden, original, captured }: ReturnType<typeof activations>, left: readonly number[] = []) {
  const sum = new Float64Array(2 * rows * columns);
  for (let t = 0; t < tokens; t++) {
    const sequence = Math.floor(t / sequenceLength);
    if (left.includes(sequence)) continue;
    const half = (sequence % 2) * rows * columns;
    const x = captured.subarray(t * columns, (t + 1) * columns);
    for (let r = 0; r < rows; r++) {
      const output = x.reduce(
        (total, value, c) => total + value * (weight[r * columns + c] as number),
        bias[r] as number,
      );
      const missing = (original[t * rows + r] as number) - (hidden[t * rows + r] as number) - output;
      for (let c = 0; c < columns; c++) {
        const at = half + r * columns + c;
        sum[at] = (sum[at] as number) + missing * (x[c] as number);
      }
    }
  }
  return sum;
}

describe.each(['native', 'typescript'] as const)('the mismatch of a slice (%s)', (kernels) => {
  it('is the product of what is missing and the input', async () => {
    const { sum, tokens: counted } = await sumOf(activations(), { kernels });
    const right = expected(activations());
    sum.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
    expect(counted).toEqual([tokens / 2, tokens / 2]);
  });

  it('has the squares of the input over the same tokens', async () => {
    const given = activations();
    const known = 30;
    const { gram } = await sumOf(
      { ...given, original: given.original.slice(0, known * sequenceLength * rows) },
      { kernels },
    );
    const right = new Float64Array(columns * columns);
    for (let t = 0; t < known * sequenceLength; t++) {
      const x = given.captured.subarray(t * columns, (t + 1) * columns);
      for (let i = 0; i < right.length; i++) {
        right[i] = (right[i] as number) + (x[Math.floor(i / columns)] as number) * (x[i % columns] as number);
      }
    }
    expect(gram).toHaveLength(right.length);
    gram?.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
  });

  it('has no squares where nobody asks for them', async () => {
    const sum = new MismatchSum({
      linear,
      input: 'product',
      gram: false,
      weights,
      sequenceLength,
      threads: 1,
      kernels,
    });
    const { hidden, original, captured: input } = activations();
    await sum.add({ hidden, original, input, threads: 1 });
    expect(sum.total().gram).toBeNull();
  });

  it('is that of the first sequences, where the original is known of them only', async () => {
    const given = activations();
    const known = 30;
    const { sum, tokens: counted } = await sumOf(
      { ...given, original: given.original.slice(0, known * sequenceLength * rows) },
      { kernels },
    );
    const left = Array.from({ length: sequences - known }, (_, i) => known + i);
    const right = expected(given, left);
    sum.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
    expect(counted).toEqual([(known / 2) * sequenceLength, (known / 2) * sequenceLength]);
  });

  it('leaves sequences out that are not finite', async () => {
    const spoilt = activations();
    spoilt.captured[3 * sequenceLength * columns + 5] = Number.NaN;
    spoilt.original[30 * sequenceLength * rows] = Number.POSITIVE_INFINITY;
    const { sum, tokens: counted } = await sumOf(spoilt, { kernels });
    const right = expected(activations(), [3, 30]);
    sum.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
    expect(counted).toEqual([tokens / 2 - sequenceLength, tokens / 2 - sequenceLength]);
  });

  it('rounds factors like the forward pass', async () => {
    const { sum } = await sumOf(activations(), { kernels, precision: 'bfloat16' });
    const right = expected(activations());
    const size = Math.hypot(...right);
    const off = Math.hypot(...sum.map((value, i) => value - (right[i] as number)));
    expect(off / size).toBeGreaterThan(1e-6);
    expect(off / size).toBeLessThan(0.01);
  });

  it('has the same bytes on any number of threads', async () => {
    const one = await sumOf(activations(), { kernels, threads: 1 });
    const three = await sumOf(activations(), { kernels, threads: 3 });
    expect(three).toEqual(one);
  });
});
