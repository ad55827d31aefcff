/**
 * The operators of a decoder layer, on values of some kind: names in a graph that is being written, or arrays that are computed at once.
 * Activations are `[tokens, features]`. Linears go by the last part of their module (`q_proj`), so that one stage body serves all layers.
 */
export interface DecoderOperators<Value> {
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** Whether the stage applies this linear. */
  applies(role: string): boolean;
  /** An activation that comes in. */
  activation(name: string): Value;
  /** y = x Wᵀ + b. */
  linear(role: string, x: Value): Value;
  /** Root mean square normalization (Zhang and Sennrich 2019, eq. 4) with the weight of the role `norm`. */
  norm(x: Value): Value;
  add(a: Value, b: Value): Value;
  /** down's input: SiLU(gate(x)) · up(x) (Shazeer 2020, SwiGLU). */
  gatedProduct(x: Value): Value;
  /** o's input: causal attention of queries and keys of x, their positions turned in, over values of x, within each sequence. */
  selfAttention(x: Value): Value;
}
