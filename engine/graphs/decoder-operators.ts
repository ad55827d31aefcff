import type { LinearRole } from '../models';

/**
 * The operators of a decoder layer, on values of some kind: names in a graph that is being written, or arrays that are computed at once.
 * Activations are `[tokens, features]`. Linears go by their role, so that one stage body serves all layers.
 */
export interface DecoderOperators<Value> {
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** Whether the stage applies this linear, or that of this expert. */
  applies(role: LinearRole, expert?: number): boolean;
  /** An activation that comes in. */
  activation(name: string): Value;
  /** y = x Wᵀ + b. */
  linear(role: LinearRole, x: Value): Value;
  /**
   * The architecture's norm with the parameters `norm` and `norm.bias`: root mean square (Zhang and Sennrich 2019, eq. 4), or layer norm
   * (Ba et al. 2016, eq. 4).
   */
  norm(x: Value): Value;
  /** What a branch adds to the hidden state: normed where there is a parameter `branch-norm`, else as it comes. */
  branchNorm(x: Value): Value;
  add(a: Value, b: Value): Value;
  /** activation(gate(x)) · up(x) (Shazeer 2020: SwiGLU, GEGLU). `gelu-tanh`: see `gelu`. */
  gatedProduct(x: Value, activation: 'silu' | 'gelu-tanh'): Value;
  /** GELU by its tanh approximation (Hendrycks and Gimpel 2016, section 2). */
  gelu(x: Value): Value;
  /** max(0, x). */
  relu(x: Value): Value;
  /**
   * o's input: causal attention of queries and keys of x over values of x, within each sequence, and in the stage's window where it has one.
   * Queries and keys come normed head by head where there are parameters `q-norm` and `k-norm`, and with their positions turned in where
   * these are rotary.
   */
  selfAttention(x: Value): Value;
  /**
   * What the router makes of the normed hidden state x, in float32 whatever linears are rounded to: by token the indices of its experts, the largest
   * of softmax(router x) first, their weights, and sigmoid(shared-router x) where there is a shared expert.
   */
  route(x: Value): Value;
  /** SiLU(gate(x)) · up(x) of every token's experts, in the order of `routing`, then of the shared one. */
  expertProducts(x: Value, routing: Value): ExpertProducts<Value>;
  /** What the experts add up to: the sum of weight · down(product) over a token's experts and the shared one. */
  expertSum(products: Value, routing: Value): Value;
}

export interface ExpertProducts<Value> {
  /** `[tokens, perToken · intermediateSize + sharedIntermediateSize]`. */
  readonly products: Value;
  /** The same; where every token counts for every expert, the products of all experts, in their order, then of the shared one. */
  readonly captured: Value;
}
