import { mergeMismatches } from './merge-mismatches';

describe('merged mismatches', () => {
  it('are sums by halves that change places from slice to slice', async () => {
    const { missing, squares } = await mergeMismatches([
      { sum: Float32Array.of(10, 20, 1, 2), gram: Float32Array.of(3, 1, 1, 24), tokens: [4, 1] },
      { sum: Float32Array.of(5, 6, 30, 40), gram: Float32Array.of(9, 2, 2, 12), tokens: [1, 6] },
    ]);
    expect(missing).toMatchObject([
      { sum: Float32Array.of(40, 60), tokens: 10 },
      { sum: Float32Array.of(6, 8), tokens: 2 },
    ]);
    expect(squares).toMatchObject({ sum: Float32Array.of(12, 3, 3, 36), tokens: 12 });
  });

  it('go to other threads', async () => {
    const parts = [{ sum: Float32Array.of(3, 9), gram: Float32Array.of(2), tokens: [3, 0] as const }];
    const merged = await mergeMismatches(parts, { take: (bytes) => new SharedArrayBuffer(bytes) });
    expect(structuredClone(merged)).toStrictEqual(merged);
  });

  it('have no squares of their own where slices have none', async () => {
    const parts = [{ sum: Float32Array.of(3, 9, 0, 0), gram: null, tokens: [3, 0] as const }];
    expect((await mergeMismatches(parts)).squares).toBeNull();
  });
});
