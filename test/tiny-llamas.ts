import { tinyModelDirectory } from './tiny-models';

export { readGolden, relativeDifference } from './tiny-models';

/** The Llamas among the tiny models. */
export const TINY_LLAMAS = ['plain', 'grouped'] as const;
export type TinyLlama = (typeof TINY_LLAMAS)[number];

export function tinyLlamaDirectory(name: TinyLlama): string {
  return tinyModelDirectory(name);
}
