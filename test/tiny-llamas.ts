import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSafetensors } from '../engine/checkpoints';
import { decodeFloats, int32View } from '../engine/numbers';
import type { Tensor } from '../engine/spec';

/** Random tiny Llamas with what transformers computes from them, written by test/oracles/tiny-llamas.py. */
export const TINY_LLAMAS = ['plain', 'grouped'] as const;
export type TinyLlama = (typeof TINY_LLAMAS)[number];

export function tinyLlamaDirectory(name: TinyLlama): string {
  return join(__dirname, '../engine/graphs/fixtures', name);
}

/** The golden values of a model, by the names that the oracle's header lists. */
export function readGolden(name: TinyLlama) {
  const { tensors } = parseSafetensors(readFileSync(join(tinyLlamaDirectory(name), 'golden.safetensors')));
  const tensor = (key: string) => tensors.get(key) as Tensor;
  return {
    floats: (key: string): Float32Array => decodeFloats(tensor(key)),
    integers: (key: string): Int32Array => Int32Array.from(int32View(tensor(key).data)),
  };
}

/** Largest absolute difference, relative to the spread of the expected values. */
export function relativeDifference(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  expected.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (actual[i] as number)));
    least = Math.min(least, value);
    most = Math.max(most, value);
  });
  // Math.max ignores nothing: a NaN comes out as NaN, which is below no tolerance.
  return difference / (most - least);
}
