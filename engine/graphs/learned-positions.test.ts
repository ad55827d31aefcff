import { addPositions } from './learned-positions';

const POSITIONS = { shape: [4, 2], data: Float32Array.of(0.5, 1, 10, 20, 100, 200, 1000, 2000) };

describe('learned positions', () => {
  it('begin anew with every sequence', () => {
    expect([...addPositions(new Float32Array(8), POSITIONS, { sequenceLength: 2 })]).toEqual([
      0.5, 1, 10, 20, 0.5, 1, 10, 20,
    ]);
  });

  it('go on where a sequence is continued', () => {
    const hidden = Float32Array.of(1, 1, 1, 1);
    expect([...addPositions(hidden, POSITIONS, { sequenceLength: 2, first: 2 })]).toEqual([101, 201, 1001, 2001]);
  });
});
