import { containerAt } from './container-at';

/** Files by name that the weights at this path, a directory or a weight file, hold in themselves: a tokenizer. @throws QuantloomError. */
export async function companionsAt(path: string): Promise<ReadonlyMap<string, string>> {
  return (await (await containerAt(path)).companions?.(path)) ?? new Map();
}
