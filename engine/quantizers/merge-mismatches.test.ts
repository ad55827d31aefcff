import { mergeMismatches } from './merge-mismatches';

describe.each(['native', 'typescript'] as const)('merged mismatches (%s)', (kernels) => {
  const options = kernels === 'native' ? {} : { native: null };

  it('are means per token, by halves that change places from slice to slice', async () => {
    const { missing, hessian } = await mergeMismatches(
      [
        { sum: Float32Array.of(10, 20, 1, 2), gram: Float32Array.of(3, 1, 1, 24), tokens: [4, 1] },
        { sum: Float32Array.of(5, 6, 30, 40), gram: Float32Array.of(9, 2, 2, 12), tokens: [1, 6] },
      ],
      options,
    );
    expect(missing.map((half) => [...half])).toEqual([
      [4, 6],
      [3, 4],
    ]);
    expect(hessian).toEqual(Float32Array.of(1, 0.25, 0.25, 3));
  });

  it('are zero where there is no token', async () => {
    const parts = [{ sum: Float32Array.of(3, 9, 0, 0), gram: Float32Array.of(6, 0, 0, 3), tokens: [3, 0] as const }];
    const { missing, hessian } = await mergeMismatches(parts, options);
    expect(missing.map((half) => [...half])).toEqual([
      [1, 3],
      [0, 0],
    ]);
    expect(hessian).toEqual(Float32Array.of(2, 0, 0, 1));
  });

  it('have no Hessian of their own where slices have none', async () => {
    const parts = [{ sum: Float32Array.of(3, 9, 0, 0), gram: null, tokens: [3, 0] as const }];
    expect((await mergeMismatches(parts, options)).hessian).toBeNull();
  });
});
