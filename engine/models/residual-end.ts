import type { Block, LinearShape } from './architecture';

/** A linear whose output is added to the hidden state as it is. */
export interface ResidualEnd {
  readonly linear: LinearShape;
  /** The activation that is its input: what the stage that captures it leaves behind, beside `hidden`. */
  readonly input: string;
  /** The stage that applies it, by its block's position. It leaves the sum behind, as `hidden`. */
  readonly appliedBy: { readonly block: number; readonly stage: string };
}

/** What ends a residual branch among the linears that a stage captures the input of; null: nothing. */
export function residualEnd(blocks: readonly Block[], block: number, stage: string): ResidualEnd | null {
  const { stages } = blocks[block] as Block;
  const position = stages.findIndex(({ name }) => name === stage);
  const within = stages[position + 1];
  const next = within ?? blocks[block + 1]?.stages[0];
  const linear = stages[position]?.captures[0];
  // Behind a norm the hidden state is not linear in the weight.
  if (next?.parameters['branch-norm'] !== undefined) return null;
  // What an expert adds is weighed, token by token.
  if (linear?.expert !== undefined) return null;
  if (!linear || !next?.changes.includes('hidden') || !next.applies.some(({ name }) => name === linear.name))
    return null;
  const input = next.reads.find((name) => name !== 'hidden');
  return input ? { linear, input, appliedBy: { block: within ? block : block + 1, stage: next.name } } : null;
}
