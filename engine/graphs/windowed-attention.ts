import type { GraphBuilder } from './graph-builder';

export interface WindowedAttention {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** Of a sequence; -1: of one sequence, of any length. */
  readonly queries: number;
  readonly keys: number;
  /** Keys that a query sees, its own among them; null: all before it. */
  readonly window: number | null;
  readonly scale: number;
  /** Scores become cap · tanh(score / cap); null: they stay. */
  readonly cap: number | null;
}

/**
 * Causal attention in standard operators: `softmax(scale · q Kᵀ) V` with a window, which the operator Attention-23 does not have, and capped
 * scores. `query` `[batch, heads, queries, headSize]`; `key` and `value` `[batch, keyValueHeads, keys, headSize]`, the last keys being those of the
 * queries.
 *
 * @returns `[batch, heads, queries, headSize]`.
 */
export function windowedAttention(builder: GraphBuilder, attention: WindowedAttention): string {
  const { heads, keyValueHeads, headSize, queries, keys, window, scale, cap } = attention;
  const batch = queries === -1 ? 1 : -1;
  const sharing = heads / keyValueHeads;
  const split = (x: string, group: number, tokens: number) =>
    builder.node('Reshape', [x, builder.integers([batch, keyValueHeads, group, tokens, headSize])]);
  const keysOfGroups = builder.node('Transpose', [split(attention.key, 1, keys)], { perm: [0n, 1n, 2n, 4n, 3n] });
  const query = builder.node('Mul', [split(attention.query, sharing, queries), builder.scalar(scale)]);
  const scores = builder.node('MatMul', [query, keysOfGroups]);
  const weights = builder.node('Softmax', [masked(builder, softCapped(builder, scores, cap), window)], { axis: -1n });
  const context = builder.node('MatMul', [weights, split(attention.value, 1, keys)]);
  return builder.node('Reshape', [context, builder.integers([batch, heads, queries, headSize])]);
}

/** cap · tanh(x / cap) (Gemma 2, arXiv 2408.00118, section 2); x where there is no cap. */
export function softCapped(builder: GraphBuilder, x: string, cap: number | null): string {
  if (cap === null) return x;
  const factor = builder.scalar(cap);
  return builder.node('Mul', [builder.node('Tanh', [builder.node('Div', [x, factor])]), factor]);
}

/** Scores `[..., queries, keys]` of keys behind the query's own, or before its window, become -∞. */
function masked(builder: GraphBuilder, scores: string, window: number | null): string {
  const sizes = builder.node('Shape', [scores]);
  const size = (axis: number) => builder.node('Gather', [sizes, builder.integers(axis)]);
  const [queries, keys] = [size(-2), size(-1)];
  const [zero, one] = [builder.integers(0), builder.integers(1)];
  const before = builder.node('Sub', [keys, queries]);
  const column = builder.node('Range', [zero, keys, one]);
  const row = builder.node('Unsqueeze', [builder.node('Range', [before, keys, one]), builder.integers([1])]);
  const later = builder.node('Greater', [column, row]);
  const hidden =
    window === null
      ? later
      : builder.node('Or', [
          later,
          builder.node('LessOrEqual', [column, builder.node('Sub', [row, builder.integers(window)])]),
        ]);
  return builder.node('Where', [hidden, builder.scalar(Number.NEGATIVE_INFINITY), scores]);
}
