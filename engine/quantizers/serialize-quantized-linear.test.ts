import { RecipeSchema } from '../spec';
import { quantizeLinear } from './quantize-linear';
import { parseQuantizedLinear, serializeQuantizedLinear } from './serialize-quantized-linear';

async function bytesOfOne(): Promise<{ linear: Parameters<typeof serializeQuantizedLinear>[0]; bytes: Uint8Array }> {
  const weight = Float32Array.from({ length: 3 * 19 }, (_, i) => Math.sin(i));
  const recipe = RecipeSchema.parse({ method: 'rtn', groupSize: 16, bits: 3, symmetric: false });
  const { linear } = await quantizeLinear({ weight, rows: 3, columns: 19, hessian: null, recipe, minimumZero: 1 });
  return { linear, bytes: serializeQuantizedLinear(linear) };
}

test('what was written is read back, from any offset of a larger buffer', async () => {
  const { linear, bytes } = await bytesOfOne();
  expect(parseQuantizedLinear(bytes)).toEqual(linear);
  const inside = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3);
  expect(parseQuantizedLinear(inside)).toEqual(linear);
});

test('bytes that are something else are refused', async () => {
  const { bytes } = await bytesOfOne();
  for (const wrong of [new Uint8Array(0), bytes.slice(0, -1), bytes.slice(0, 10), Buffer.from('\x02\0\0\0{}')]) {
    expect(() => parseQuantizedLinear(wrong)).toThrow(/not a quantized linear/);
  }
});
