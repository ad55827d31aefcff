import type { LinearShape, Stage } from './architecture';

/** An input that a stage captures, with an XᵀX of its own. */
export interface CapturedInput {
  /** Of the tokens that are routed to this expert; null: of every token. */
  readonly expert: number | null;
  readonly columns: number;
  /** Those of the stage's captures that share it. */
  readonly linears: readonly LinearShape[];
}

/** The inputs that a stage captures, in the order of its linears: one, or one per expert. */
export function capturedInputs({
  applies,
  captures,
  allExperts,
}: Pick<Stage, 'applies' | 'captures' | 'allExperts'>): readonly CapturedInput[] {
  const sparse = captures.some(({ expert }) => expert !== undefined);
  // Behind the experts' own gate and up, every expert has an input of its own; where all tokens count, others share the hidden state.
  const apart = sparse && (!allExperts || applies.some(({ expert }) => expert !== undefined));
  const columns = captures[0]?.columns ?? 0;
  if (!apart) return [{ expert: null, columns, linears: captures }];
  const experts = new Set(captures.map(({ expert }) => expert));
  return [...experts].map((expert) => {
    const linears = captures.filter((linear) => linear.expert === expert);
    return { expert: expert ?? null, columns: linears[0]?.columns ?? 0, linears };
  });
}

/** By the name of a linear, which of the stage's inputs is its own, where there are several; null: there is one. */
export function inputsByLinear(stage: Stage): ReadonlyMap<string, number> | null {
  const inputs = capturedInputs(stage);
  if (inputs.length === 1) return null;
  return new Map(inputs.flatMap(({ linears }, input) => linears.map(({ name }) => [name, input] as const)));
}

/** The stage as it calibrates: where it captures the inputs of experts and `allExperts` is asked for, every token counts for all of them. */
export function calibratingStage(stage: Stage, { allExperts }: { readonly allExperts?: boolean }): Stage {
  const sparse = stage.captures.some(({ expert }) => expert !== undefined);
  return allExperts && sparse ? { ...stage, allExperts: true } : stage;
}
