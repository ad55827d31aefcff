import { tinyLlamaDirectory } from '../../test/tiny-llamas';
import { SeededRandom } from '../calibration/seeded-random';
import { openCheckpoint } from '../checkpoints';
import { architectureOf } from '../models';
import { encodeFloats } from '../numbers';
import { createLossRunner } from './loss-runner';

/** More rows than fit into two blocks. */
const VOCABULARY = 20_000;
const TOKENS = 600;

/** -log softmax(norm(x) Wᵀ + b)[target], everything in float64. */
function expectedLosses(
  x: Float64Array,
  norm: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  epsilon: number,
) {
  const width = norm.length;
  return (target: number, token: number): number => {
    const row = x.subarray(token * width, (token + 1) * width);
    const scale = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / width + epsilon);
    const normed = row.map((value, i) => value * scale * (norm[i] as number));
    const logits = bias.map((b, v) =>
      normed.reduce((sum, value, i) => sum + value * (weight[v * width + i] as number), b),
    );
    const most = logits.reduce((a, b) => Math.max(a, b));
    return Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) + most - (logits[target] as number);
  };
}

test('puts the sum over a large vocabulary together from blocks of rows', async () => {
  const { config } = await openCheckpoint(tinyLlamaDirectory('plain'));
  const shape = { ...architectureOf(config).shape(config), hiddenSize: 8, vocabularySize: VOCABULARY };
  const random = new SeededRandom(7);
  const uniform = (length: number, scale: number) =>
    Float32Array.from({ length }, () => (Number(random.next() >> 11n) / 2 ** 53 - 0.5) * scale);
  const [hidden, norm, weight, bias] = [
    uniform(TOKENS * 8, 4),
    uniform(8, 2),
    uniform(VOCABULARY * 8, 6),
    uniform(VOCABULARY, 2),
  ] as const;
  // Of the first block, the last row of one, another block, the last row of all.
  const targets = Int32Array.from({ length: TOKENS }, (_, i) => [5, 8191, 12_345, VOCABULARY - 1][i % 4] as number);
  const runner = createLossRunner({
    architecture: 'llama',
    shape,
    threads: 2,
    norm: { shape: [8], data: norm },
    weight: { dtype: 'F32', shape: [VOCABULARY, 8], data: encodeFloats(weight, 'F32') },
    bias: { shape: [VOCABULARY], data: bias },
  });
  const losses = await runner.negativeLogLikelihoods(hidden, targets);
  const [x, n, w, b] = [hidden, norm, weight, bias].map((values) => Float64Array.from(values));
  const expected = expectedLosses(
    x as Float64Array,
    n as Float64Array,
    w as Float64Array,
    b as Float64Array,
    shape.normEpsilon,
  );
  for (const token of [0, 1, 2, 3, 510, 511, 512, 513, 598, 599]) {
    expect(Math.abs((losses[token] as number) - expected(targets[token] as number, token))).toBeLessThan(1e-5);
  }
});
