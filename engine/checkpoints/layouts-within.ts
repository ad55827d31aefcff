import type { LinearPlan } from '../spec';
import type { CheckpointFormat } from './format';

/** By module: what a linear is stored as, where that is not the layout of the whole checkpoint. */
export function layoutsWithin(
  { layoutOf }: Pick<CheckpointFormat, 'layoutOf'>,
  layout: string,
  linears: readonly LinearPlan[],
): Record<string, string> {
  const others = linears.flatMap((linear) => {
    const own = linear.recipe && layoutOf ? layoutOf(linear, layout) : layout;
    return own === layout ? [] : [[linear.name, own] as const];
  });
  return Object.fromEntries(others);
}
