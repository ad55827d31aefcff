import { mergeMismatches } from './merge-mismatches';

describe.each(['native', 'typescript'] as const)('merged mismatches (%s)', (kernels) => {
  const options = kernels === 'native' ? {} : { native: null };

  it('are means per token, by halves that change places from slice to slice', async () => {
    const merged = await mergeMismatches(
      [
        { sum: Float32Array.of(10, 20, 1, 2), tokens: [4, 1] },
        { sum: Float32Array.of(5, 6, 30, 40), tokens: [1, 6] },
      ],
      options,
    );
    expect([...merged]).toEqual([4, 6, 3, 4]);
  });

  it('are zero where there is no token', async () => {
    const merged = await mergeMismatches([{ sum: Float32Array.of(3, 9, 0, 0), tokens: [3, 0] }], options);
    expect([...merged]).toEqual([1, 3, 0, 0]);
  });
});
