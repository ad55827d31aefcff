import type { CapturedInput } from '../models';
import type { ExpertShape, ModelShape, Stage } from '../models/architecture';
import { activationFeatures } from './decoder-graph';
import type { ScratchFloats } from './scratch-floats';

/** Features of what a stage captures: of all its inputs side by side. */
export function capturedFeatures(stage: Stage, shape: ModelShape): number {
  if (stage.applies[0]?.expert === undefined || !stage.changes.includes('expert-products')) {
    return stage.captures[0]?.columns as number;
  }
  if (!stage.allExperts) return activationFeatures('expert-products', shape);
  const { count, intermediateSize, sharedIntermediateSize } = shape.experts as ExpertShape;
  return count * intermediateSize + sharedIntermediateSize;
}

export interface CapturedTokens {
  /** `[tokens, features]`. */
  readonly captured: Float32Array;
  readonly features: number;
  /** `[tokens, ...]`: by token the indices of its experts first; null: every token counts for every expert. */
  readonly routing: Float32Array | null;
  readonly perToken: number;
  /** Those that count. */
  readonly tokens: readonly number[];
}

/**
 * The rows of one of the inputs that are captured, `[rows, columns]`, in the order of the tokens. The hidden state is the input of every expert; products
 * lie side by side, those of all experts or of the ones that a token has chosen, and the shared expert's last.
 */
export function rowsOfInput(
  { expert, columns }: CapturedInput,
  { captured, features, routing, perToken, tokens }: CapturedTokens,
  scratch: ScratchFloats,
): Float32Array {
  const isWhole = features === columns;
  const offsetOf = (token: number): number => {
    if (expert === null) return features - columns;
    if (!routing) return expert * columns;
    const choices = routing.length / (captured.length / features);
    const first = token * choices;
    const place = routing.subarray(first, first + perToken).indexOf(expert);
    return isWhole && place >= 0 ? 0 : place * columns;
  };
  const rows = scratch.of('captured rows', tokens.length * columns);
  let count = 0;
  for (const token of tokens) {
    const offset = offsetOf(token);
    if (offset < 0) continue;
    const first = token * features + offset;
    rows.set(captured.subarray(first, first + columns), count * columns);
    count += 1;
  }
  return rows.subarray(0, count * columns);
}
