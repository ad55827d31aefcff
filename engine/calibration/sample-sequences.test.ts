import { planSlices } from './plan-slices';
import { sampleSequences } from './sample-sequences';
import { SeededRandom } from './seeded-random';

describe('SeededRandom', () => {
  test('is SplitMix64: the published values for seed 1234567', () => {
    const random = new SeededRandom(1234567);
    expect(Array.from({ length: 5 }, () => random.next())).toEqual([
      6457827717110365317n,
      3203168211198807973n,
      9817491932198370423n,
      4593380528125082431n,
      16408922859458223821n,
    ]);
  });

  test('scales to a bound by the high bits', () => {
    const random = new SeededRandom(1234567);
    // 6457827717110365317 / 2^64 = 0.35007…, 3203168211198807973 / 2^64 = 0.17364…, 9817491932198370423 / 2^64 = 0.53221…
    expect([random.below(1000), random.below(1000), random.below(1000)]).toEqual([350, 173, 532]);
  });
});

describe('sampleSequences', () => {
  const tokens = Int32Array.from({ length: 1009 }, (_, i) => i);

  test('takes windows of the text at the starts drawn', () => {
    // 1009 - 10 + 1 = 1000 starts.
    const sequences = sampleSequences(tokens, { samples: 3, sequenceLength: 10, seed: 1234567 });
    const window = (start: number) => Array.from({ length: 10 }, (_, i) => start + i);
    expect([...sequences]).toEqual([...window(350), ...window(173), ...window(532)]);
  });

  test('more samples with the same seed begin with the same sequences; another seed gives others', () => {
    const few = sampleSequences(tokens, { samples: 4, sequenceLength: 16, seed: 7 });
    const many = sampleSequences(tokens, { samples: 9, sequenceLength: 16, seed: 7 });
    const other = sampleSequences(tokens, { samples: 4, sequenceLength: 16, seed: 8 });
    expect(many.subarray(0, few.length)).toEqual(few);
    expect(other).not.toEqual(few);
  });

  test('reaches both ends of the text', () => {
    const starts = new Set<number>();
    const short = tokens.subarray(0, 12);
    const sequences = sampleSequences(short, { samples: 200, sequenceLength: 10, seed: 0 });
    for (let i = 0; i < 200; i++) starts.add(sequences[i * 10] as number);
    expect([...starts].sort()).toEqual([0, 1, 2]);
  });

  test('a text of exactly one sequence is enough, one token less is refused with both numbers', () => {
    expect([...sampleSequences(tokens.subarray(0, 8), { samples: 2, sequenceLength: 8, seed: 0 })]).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,
    ]);
    expect(() => sampleSequences(tokens.subarray(0, 7), { samples: 2, sequenceLength: 8, seed: 0 })).toThrow(
      expect.objectContaining({
        code: 'InvalidCalibration',
        message: expect.stringMatching(/has 7 tokens, fewer than one sequence of 8\. Take a longer text/),
      }),
    );
  });
});

describe('planSlices', () => {
  test('fills slices with whole sequences; the last one holds what is left', () => {
    expect(planSlices(10, 2048, 8192)).toEqual([
      { firstSequence: 0, sequences: 4 },
      { firstSequence: 4, sequences: 4 },
      { firstSequence: 8, sequences: 2 },
    ]);
    expect(planSlices(3, 100, 250)).toEqual([
      { firstSequence: 0, sequences: 2 },
      { firstSequence: 2, sequences: 1 },
    ]);
  });

  test('a sequence longer than a slice is a slice of its own', () => {
    expect(planSlices(2, 4096, 1000)).toEqual([
      { firstSequence: 0, sequences: 1 },
      { firstSequence: 1, sequences: 1 },
    ]);
  });
});
