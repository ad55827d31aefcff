import { embed, embedStored } from './embed';

const EMBEDDING = { shape: [3, 2], data: Float32Array.of(0, 1, 10, 11, 20, 21) };

describe('embed', () => {
  it('gives one row of the embedding per token', () => {
    expect([...embed(Int32Array.of(2, 0, 2), EMBEDDING)]).toEqual([20, 21, 0, 1, 20, 21]);
  });

  it('decodes the rows that are wanted of an embedding in bfloat16', () => {
    const data = new Uint8Array(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0xc080).buffer); // 1, 2, 3, -4
    expect([...embedStored(Int32Array.of(1, 0, 1), { dtype: 'BF16', shape: [2, 2], data })]).toEqual([
      3, -4, 1, 2, 3, -4,
    ]);
  });

  it.each([3, -1])('refuses token %i, which the vocabulary does not have', (token) => {
    expect(() => embed(Int32Array.of(0, token), EMBEDDING)).toThrow(
      expect.objectContaining({ code: 'UnsupportedInput', message: expect.stringContaining(`Token 1 is ${token}`) }),
    );
  });
});
