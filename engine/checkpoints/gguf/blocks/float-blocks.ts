import {
  BFLOAT16_MAX,
  bytesOf,
  decodeBfloat16,
  decodeFloat16,
  encodeBfloat16,
  encodeFloat16,
  FLOAT16_MAX,
  float32View,
  uint16View,
} from '../../../numbers';
import type { BlockType } from './block-type';

const FLOAT32_MAX = 2 ** 127 * (2 - 2 ** -23);

/** Plain numbers are blocks of one. */
export const f32: BlockType = {
  name: 'F32',
  id: 0,
  blockSize: 1,
  blockBytes: 4,
  largestMagnitude: FLOAT32_MAX,
  decode: (blocks, values) => values.set(float32View(blocks)),
  encode: (values, blocks) => blocks.set(bytesOf(values)),
};

export const f16: BlockType = {
  name: 'F16',
  id: 1,
  blockSize: 1,
  blockBytes: 2,
  largestMagnitude: FLOAT16_MAX,
  decode: (blocks, values) => void decodeFloat16(uint16View(blocks), values),
  encode: (values, blocks) => blocks.set(bytesOf(encodeFloat16(values))),
};

export const bf16: BlockType = {
  name: 'BF16',
  id: 30,
  blockSize: 1,
  blockBytes: 2,
  largestMagnitude: BFLOAT16_MAX,
  decode: (blocks, values) => void decodeBfloat16(uint16View(blocks), values),
  encode: (values, blocks) => blocks.set(bytesOf(encodeBfloat16(values))),
};
