import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeFloat8E4m3, decodeFloats } from '../../numbers';
import type { FloatTensor, Tensor } from '../../spec';
import { storedLinears } from '../formats';
import { parseSafetensors } from '../safetensors';
import { fp8Storage } from './fp8-storage';

// Made by torch (test/oracles/fp8_blocks.py).
const { tensors } = parseSafetensors(readFileSync(join(__dirname, 'fixtures', 'fp8-blocks.safetensors')), 'fixture');
const tensor = (name: string) => tensors.get(name) as Tensor;
const config = {
  quantization_config: { quant_method: 'fp8', weight_block_size: [8, 16], activation_scheme: 'dynamic' },
};

test('every F8_E4M3 byte is the number that torch makes of it', () => {
  expect(decodeFloat8E4m3(tensor('every').data)).toEqual(decodeFloats(tensor('every_value')));
});

test('a linear in blocks, cut off at both edges, has the weights that torch computes', async () => {
  const stored = storedLinears(config);
  expect(stored?.storage).toBe(fp8Storage);
  const settings = stored?.settingsOf('linear');
  if (!settings) throw new Error('no settings');
  const read = async (name: string) => tensors.get(name) ?? null;
  const linear = (await fp8Storage.read('linear', { where: 'here', settings, read })) as FloatTensor;
  expect(linear.shape).toEqual([20, 40]);
  expect(linear.data).toEqual(decodeFloats(tensor('expected')));
  const expected = fp8Storage.tensors(settings, [20, 40]);
  expect(expected.weight_scale_inv?.shape).toEqual(tensor('linear.weight_scale_inv').shape);
});

test.each([
  [undefined, 'weight_block_size is null'],
  [[128], 'weight_block_size is [128]'],
  [[0, 128], 'weight_block_size is [0,128]'],
])('a block size of %j is refused', (weight_block_size, message) => {
  expect(() => storedLinears({ quantization_config: { quant_method: 'fp8', weight_block_size } })).toThrow(message);
});

test('scales that are not one per block are refused by name', async () => {
  const settings = { bits: 8, groupSize: 16, symmetric: true, layout: 'fp8 4x16' };
  const read = async (name: string) => tensors.get(name) ?? null;
  await expect(fp8Storage.read('linear', { where: 'here', settings, read })).rejects.toThrow(
    'here: linear has weight F8_E4M3 [20, 40] and weight_scale_inv F32 [3, 3]; expected F8_E4M3 and [5, 3], one per block of 4 x 16.',
  );
});
