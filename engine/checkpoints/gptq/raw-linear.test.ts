import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { halfFloat } from '../verification/raw-floats';
import { RawSafetensors } from '../verification/raw-safetensors';
import { RawGptq } from './raw-linear';

const FIXTURES = join(__dirname, 'fixtures');

/** Packed and dequantized by GPTQModel 7.7.0 (test/oracles/gptq-packing.py). */
it.each(readdirSync(FIXTURES))('decodes %s to what GPTQModel packed', async (file) => {
  const raw = await RawSafetensors.open(join(FIXTURES, file));
  try {
    const [N = 0, K = 0] = raw.tensors.get('codes')?.shape ?? [];
    const [G = 0] = raw.tensors.get('scales')?.shape ?? [];
    const index = await raw.read('g_idx');
    const groupOf = Int32Array.from({ length: K }, (_, column) => index.readInt32LE(4 * column));
    const weights = new RawGptq({
      K,
      N,
      G,
      bits: Number(raw.metadata.bits),
      qweight: await raw.read('qweight'),
      qzeros: await raw.read('qzeros'),
      scales: await raw.read('scales'),
      groupOf,
      checkpointFormat: raw.metadata.layout as string,
      symmetric: raw.metadata.sym === 'true',
    });
    const codes = await raw.read('codes');
    const zeros = await raw.read('zeros');
    const scale = await raw.read('scale');
    for (let row = 0; row < N; row++) {
      const expected = Float32Array.from({ length: K }, (_, column) => {
        const at = row * G + (groupOf[column] as number);
        return ((codes[row * K + column] as number) - (zeros[at] as number)) * scale.readFloatLE(4 * at);
      });
      expect(weights.weights(row, 1)).toEqual(expected);
      if (row % 8 === 0) expect(weights.weights(row, 8).subarray(0, K)).toEqual(expected);
    }
  } finally {
    await raw.close();
  }
});

it.each([
  [0x3c00, 1],
  [0xc000, -2],
  [0x7bff, 65504],
  [0x0400, 2 ** -14],
  [0x0001, 2 ** -24],
  [0x7c00, Number.POSITIVE_INFINITY],
  [0x7e00, Number.NaN],
])('reads float16 %i as %d', (bits, value) => {
  expect(halfFloat(bits)).toBe(value);
});
