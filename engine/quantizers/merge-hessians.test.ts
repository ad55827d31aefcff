import { mergeHessians } from './merge-hessians';

test('the mean per token, over slices of different size', async () => {
  const { hessian, tokens } = await mergeHessians([
    { gram: Float32Array.of(2, 1, 1, 4), tokens: 1 },
    { gram: Float32Array.of(4, 3, 3, 8), tokens: 3 },
  ]);
  expect(tokens).toBe(4);
  expect([...hessian]).toEqual([1.5, 1, 1, 3]);
});

test('both halves become their mean, and sums are taken in float64', async () => {
  async function* slices() {
    yield { gram: Float32Array.of(1, 16777216, 16777216, 1), tokens: 1 };
    yield { gram: Float32Array.of(0, 1, 2, 0), tokens: 1 };
  }
  const { hessian } = await mergeHessians(slices());
  expect([...hessian]).toEqual([0.5, 8388608.75, 8388608.75, 0.5]);
});

test('no tokens, and slices of different inputs, are refused', async () => {
  await expect(mergeHessians([])).rejects.toMatchObject({ code: 'InvalidCalibration' });
  await expect(mergeHessians([{ gram: new Float32Array(4), tokens: 0 }])).rejects.toMatchObject({
    code: 'InvalidCalibration',
  });
  const different = [new Float32Array(4), new Float32Array(9)].map((gram) => ({ gram, tokens: 1 }));
  await expect(mergeHessians(different)).rejects.toMatchObject({ code: 'InvalidCalibration' });
});
