import type { Block } from './architecture';

/** Names of the weights that the source holds as `[columns, rows]`. */
export function transposedWeights(blocks: readonly Block[]): ReadonlySet<string> {
  const linears = blocks.flatMap(({ stages }) => stages.flatMap(({ captures }) => captures));
  return new Set(linears.filter(({ transposed }) => transposed).map(({ name }) => `${name}.weight`));
}
