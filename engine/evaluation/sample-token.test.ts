import fc from 'fast-check';
import { SeededRandom } from '../calibration/seeded-random';
import { sampleToken } from './sample-token';

// Probabilities 0.5, 0.25, 0.125, 0.125.
const LOGITS = Float32Array.from([0.125, 0.5, 0.125, 0.25], Math.log);

describe('sampleToken', () => {
  it('takes the most likely token at temperature 0, the first of equals', () => {
    const never = () => {
      throw new Error('not random');
    };
    expect(sampleToken(LOGITS, { temperature: 0 }, never)).toBe(1);
    expect(sampleToken(Float32Array.of(3, 7, 7), { temperature: 0 }, never)).toBe(1);
  });

  it('walks the distribution from the most likely token down', () => {
    const draws = [0, 0.49, 0.51, 0.74, 0.76, 0.87, 0.88, 0.999].map((u) =>
      sampleToken(LOGITS, { temperature: 1 }, () => u),
    );
    expect(draws).toEqual([1, 1, 3, 3, 0, 0, 2, 2]);
  });

  it('sharpens and flattens with the temperature', () => {
    // At 0.5 the probabilities are squared: 16, 4, 1, 1 of 22.
    expect(sampleToken(LOGITS, { temperature: 0.5 }, () => 15.9 / 22)).toBe(1);
    expect(sampleToken(LOGITS, { temperature: 0.5 }, () => 16.1 / 22)).toBe(3);
  });

  it('keeps the k most likely tokens, and the nucleus that reaches p', () => {
    expect(sampleToken(LOGITS, { temperature: 1, topK: 2 }, () => 0.999)).toBe(3);
    expect(sampleToken(LOGITS, { temperature: 1, topP: 0.6 }, () => 0.999)).toBe(3);
    expect(sampleToken(LOGITS, { temperature: 1, topP: 0.4 }, () => 0.999)).toBe(1);
    expect(sampleToken(LOGITS, { temperature: 1, topP: 1e-9 }, () => 0.999)).toBe(1);
  });

  it('always answers with a token of the vocabulary that was allowed', () => {
    const logit = fc.float({ min: -80, max: 80, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 50 }),
        fc.nat(),
        (logits, topK, seed) => {
          const random = new SeededRandom(seed);
          const uniform = () => Number(random.next() >> 11n) / 2 ** 53;
          const token = sampleToken(Float32Array.from(logits), { temperature: 0.8, topK, topP: 0.9 }, uniform);
          const likelier = logits.filter((value) => value > (logits[token] as number)).length;
          expect(likelier).toBeLessThan(topK);
        },
      ),
    );
  });
});
