import { embed } from './embed';

const EMBEDDING = { shape: [3, 2], data: Float32Array.of(0, 1, 10, 11, 20, 21) };

describe('embed', () => {
  it('gives one row of the embedding per token', () => {
    expect([...embed(Int32Array.of(2, 0, 2), EMBEDDING)]).toEqual([20, 21, 0, 1, 20, 21]);
  });

  it.each([3, -1])('refuses token %i, which the vocabulary does not have', (token) => {
    expect(() => embed(Int32Array.of(0, token), EMBEDDING)).toThrow(
      expect.objectContaining({ code: 'UnsupportedInput', message: expect.stringContaining(`Token 1 is ${token}`) }),
    );
  });
});
