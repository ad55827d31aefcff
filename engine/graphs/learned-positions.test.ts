import { addPositions } from './learned-positions';

const POSITIONS = { shape: [4, 2], data: Float32Array.of(0.5, 1, 10, 20, 100, 200, 1000, 2000) };

describe('learned positions', () => {
  it('begin anew with every sequence', () => {
    expect([...addPositions(new Float32Array(8), POSITIONS, { shape: {}, sequenceLength: 2 })]).toEqual([
      0.5, 1, 10, 20, 0.5, 1, 10, 20,
    ]);
  });

  it('go on where a sequence is continued', () => {
    const hidden = Float32Array.of(1, 1, 1, 1);
    expect([...addPositions(hidden, POSITIONS, { shape: {}, sequenceLength: 2, first: 2 })]).toEqual([
      101, 201, 1001, 2001,
    ]);
  });

  it('begin behind the rows that the model leaves out', () => {
    const given = { shape: { positionOffset: 2 }, sequenceLength: 1, first: 1 };
    expect([...addPositions(new Float32Array(2), POSITIONS, given)]).toEqual([1000, 2000]);
  });
});
