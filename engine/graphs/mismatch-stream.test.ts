import type { KernelChoice } from '../kernels';
import { createMismatchStream, mismatchBatchSequences } from './mismatch-stream';

const [sequences, sequenceLength, rows, columns] = [40, 32, 24, 40];

function wave(count: number, step: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(step * i + (i % 7)));
}

const bias = wave(rows, 0.3);
const tokens = sequences * sequenceLength;

/** Fresh copies: a stream may move what is in them. */
const activations = () => ({
  hidden: wave(tokens * rows, 0.11),
  original: wave(tokens * rows, 0.17),
  captured: wave(tokens * columns, 0.23),
});

async function sumOf(given: ReturnType<typeof activations>, kernels: KernelChoice, threads = 1) {
  const stream = createMismatchStream({ rows, columns, sequenceLength, bias, kernels, threads });
  const perBatch = 24;
  for (let first = 0; first < sequences; first += perBatch) {
    const count = Math.min(perBatch, sequences - first);
    const part = (array: Float32Array) => {
      const stride = array.length / sequences;
      return array.slice(first * stride, (first + count) * stride);
    };
    const inputs = Object.fromEntries(Object.entries(given).map(([name, array]) => [name, part(array)]));
    await stream.run({ sequences: count, inputs, outputs: {} });
  }
  return stream.finish();
}

/** In plain loops, without some sequences. */
function expected({ hidden, original, captured }: ReturnType<typeof activations>, left: readonly number[] = []) {
  const sum = new Float64Array(rows * columns);
  for (let t = 0; t < tokens; t++) {
    if (left.includes(Math.floor(t / sequenceLength))) continue;
    for (let r = 0; r < rows; r++) {
      const missing = (original[t * rows + r] as number) - (hidden[t * rows + r] as number) - (bias[r] as number);
      for (let c = 0; c < columns; c++) {
        sum[r * columns + c] = (sum[r * columns + c] as number) + missing * (captured[t * columns + c] as number);
      }
    }
  }
  return sum;
}

describe.each(['native', 'typescript'] as const)('the mismatch of a slice (%s)', (kernels) => {
  it('is the product of what is missing and the input', async () => {
    const { gram, tokens: counted, nonFiniteSequences } = await sumOf(activations(), kernels);
    const right = expected(activations());
    gram?.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
    expect([counted, nonFiniteSequences]).toEqual([tokens, 0]);
  });

  it('leaves sequences out that are not finite', async () => {
    const spoilt = activations();
    spoilt.captured[3 * sequenceLength * columns + 5] = Number.NaN;
    spoilt.original[30 * sequenceLength * rows] = Number.POSITIVE_INFINITY;
    const { gram, tokens: counted, nonFiniteSequences } = await sumOf(spoilt, kernels);
    const right = expected(activations(), [3, 30]);
    gram?.forEach((value, i) => {
      expect(value).toBeCloseTo(right[i] as number, 2);
    });
    expect([counted, nonFiniteSequences]).toEqual([tokens - 2 * sequenceLength, 2]);
  });

  it('has the same bytes on any number of threads', async () => {
    const one = await sumOf(activations(), kernels, 1);
    const three = await sumOf(activations(), kernels, 3);
    expect(three.gram).toEqual(one.gram);
  });
});

test('batches have about 1024 tokens, and at least a sequence', () => {
  expect([64, 512, 4096].map(mismatchBatchSequences)).toEqual([16, 2, 1]);
});
