import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSafetensors } from '../engine/checkpoints';
import { decodeFloats, int32View } from '../engine/numbers';
import type { Tensor } from '../engine/spec';

/** Random tiny models with what transformers computes from them, written by test/oracles/tiny-models.py. */
export const TINY_MODELS = [
  'plain',
  'grouped',
  'mistral-grouped',
  'mistral-window',
  'qwen2-grouped',
  'qwen2-plain',
  'qwen3-grouped',
  'qwen3-plain',
  'gemma2-grouped',
  'gemma2-plain',
  'gemma3-grouped',
  'gemma3-plain',
  'phi3-grouped',
  'phi3-partial',
  'mixtral-grouped',
  'mixtral-window',
  'qwen2moe-shared',
  'qwen2moe-dense',
  'qwen3moe-grouped',
  'qwen3moe-dense',
  'gpt2-tied',
  'gpt2-bare',
  'opt-tied',
  'opt-bare',
] as const;
export type TinyModelName = (typeof TINY_MODELS)[number];

/** Those that take sequences of 600 tokens. */
export const LONG_MODELS: readonly TinyModelName[] = TINY_MODELS.filter((name) => !/^(gpt2|opt)-bare$/.test(name));

/** Those whose function stays as it is when they are rotated. */
export const ROTATABLE_MODELS: readonly TinyModelName[] = TINY_MODELS.filter((name) => !/^(gpt2|opt|gemma)/.test(name));

/** Those whose second layer has experts. */
export const SPARSE_MODELS: readonly TinyModelName[] = TINY_MODELS.filter((name) => /^mixtral|moe/.test(name));

/** Those with a tokenizer of their own. */
export const TOKENIZED_MODELS: readonly TinyModelName[] = TINY_MODELS.slice(2);

/** What `text_tokens` are of. */
export const TEXT_OF_TINY_MODELS =
  "The quick brown fox can't count: 12345 tokens, naïve café…\n\n  def f(x):\n\treturn x  # 你好 🙂 END";

export function tinyModelDirectory(name: TinyModelName): string {
  return join(__dirname, '../engine/graphs/fixtures', name);
}

/** The golden values of a model, by the names that the oracle's header lists. */
export function readGolden(name: TinyModelName) {
  const { tensors } = parseSafetensors(readFileSync(join(tinyModelDirectory(name), 'golden.safetensors')));
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
