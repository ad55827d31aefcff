import { readGolden, TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { architectureOf, type RotaryScaling } from '../models';
import { inverseFrequencies, rotaryTable } from './rotary-table';

describe('rotary embedding', () => {
  it.each(TINY_MODELS.filter((name) => !/^(gpt2|opt)/.test(name)))(
    'has the inverse frequencies of transformers: %s',
    async (name) => {
      const { config } = await openCheckpoint(tinyModelDirectory(name));
      const { rotary, headSize } = architectureOf(config).shape(config);
      const expected = readGolden(name).floats('inverse_frequencies');
      const actual = inverseFrequencies(rotary as RotaryScaling, headSize);
      expect(actual.length).toBe(expected.length);
      actual.forEach((frequency, i) => {
        expect(Math.abs(frequency / (expected[i] as number) - 1)).toBeLessThan(3e-7);
      });
    },
  );

  it('turns pair i of position p by p · theta^(-2i/d)', () => {
    const { cos, sin } = rotaryTable({ theta: 10000, llama3: null }, 4, 3);
    // Angles: position · [1, 0.01].
    const angles = [0, 0, 1, 0.01, 2, 0.02];
    angles.forEach((angle, i) => {
      expect(cos[i]).toBeCloseTo(Math.cos(angle), 6);
      expect(sin[i]).toBeCloseTo(Math.sin(angle), 6);
    });
  });
});
