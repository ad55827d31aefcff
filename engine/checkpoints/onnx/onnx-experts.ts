import { silu } from '../../graphs/expert-graph';
import type { GraphBuilder } from '../../graphs/graph-builder';
import type { LinearRole, ModelShape } from '../../models/architecture';

/** What the experts of a layer are made of. */
export interface ExpertParts {
  /** Of an expert, on `[rows, features]`; without `expert` the shared one's, on `[batch, sequence, features]`. */
  linear(role: LinearRole, x: string, expert?: number): string;
  /** `router`, `shared-router`. */
  parameter(role: string): string;
  /** SiLU(gate(x)) · up(x) of the shared expert. */
  gated(x: string): string;
}

/** The router's choice. A place is token · perToken + n: the nth expert of a token. Names of graph values. */
interface Routing {
  /** float `[batch, sequence, perToken]`. */
  readonly weights: string;
  /** int64 `[places]`: places, those of the first expert first. */
  readonly order: string;
  /** int64 `[experts]`: places of each expert. */
  readonly counts: string;
  /** float `[batch, sequence, 1]`: weight of the shared expert. */
  readonly shared: string | null;
}

/**
 * A mixture of experts in standard operators around the products of linears. Rows of tokens are sorted by expert and split, so that an expert computes
 * for its own tokens only, and three nodes are all that there is of each. An expert without tokens multiplies no rows.
 */
export class OnnxExperts {
  readonly #routings = new Map<string, Routing>();
  /** By what `products` returned: the shared expert's. */
  readonly #sharedProducts = new Map<string, string>();

  constructor(
    private readonly builder: GraphBuilder,
    private readonly shape: ModelShape,
    private readonly parts: ExpertParts,
  ) {}

  /** See `DecoderOperators.route`. @returns the name that `products` and `sum` know the routing by. */
  route(x: string): string {
    const { builder, parts } = this;
    const { count, perToken, normalized, sharedIntermediateSize } = this.#experts;
    const scores = (role: string) =>
      builder.node('MatMul', [x, builder.node('Transpose', [parts.parameter(role)], { perm: [1n, 0n] })]);
    const probabilities = builder.node('Softmax', [scores('router')], { axis: -1n });
    const best = builder.nodes('TopK', [probabilities, builder.integers([perToken])], { axis: -1n }, 2);
    const [largest, chosen] = best as readonly [string, string];
    const weights = normalized
      ? builder.node('Div', [largest, builder.node('ReduceSum', [largest, builder.integers([-1])])])
      : largest;
    const expertOf = builder.node('Reshape', [chosen, builder.integers([-1])]);
    const all = builder.integers(Array.from({ length: count }, (_, expert) => expert));
    const isOf = builder.node('Equal', [builder.node('Unsqueeze', [expertOf, builder.integers([1])]), all]);
    const counts = builder.node('ReduceSum', [builder.cast(isOf, 'int64'), builder.integers([0])], { keepdims: 0n });
    const shared = sharedIntermediateSize > 0 ? builder.node('Sigmoid', [scores('shared-router')]) : null;
    this.#routings.set(weights, { weights, order: this.#sorted(expertOf), counts, shared });
    return weights;
  }

  /** SiLU(gate(x)) · up(x) in the order of the routing: `[places, intermediateSize]`. */
  products(x: string, routing: string): string {
    const { builder, parts } = this;
    const { perToken } = this.#experts;
    const { order } = this.#routingOf(routing);
    const tokens = builder.node('Div', [order, builder.integers(perToken)]);
    const flat = builder.node('Reshape', [x, builder.integers([-1, this.shape.hiddenSize])]);
    const rows = this.#split(builder.node('Gather', [flat, tokens]), routing);
    const gate = this.#linears('gate', rows);
    const product = builder.node('Mul', [silu(builder, gate), this.#linears('up', rows)]);
    if (this.#routingOf(routing).shared) this.#sharedProducts.set(product, parts.gated(x));
    return product;
  }

  /** See `DecoderOperators.expertSum`. @param like has the shape of what is returned, `[batch, sequence, hiddenSize]`. */
  sum(product: string, routing: string, like: string): string {
    const { builder, parts } = this;
    const { hiddenSize } = this.shape;
    const { perToken } = this.#experts;
    const { order, weights, shared } = this.#routingOf(routing);
    const outputs = this.#linears('down', this.#split(product, routing));
    const inPlace = builder.node('Gather', [outputs, this.#sorted(order)]);
    const byToken = builder.node('Reshape', [inPlace, builder.integers([-1, perToken, hiddenSize])]);
    const weighed = builder.node('Mul', [
      byToken,
      builder.node('Reshape', [weights, builder.integers([-1, perToken, 1])]),
    ]);
    const total = builder.node('ReduceSum', [weighed, builder.integers([1])], { keepdims: 0n });
    const sum = builder.node('Reshape', [total, builder.node('Shape', [like])]);
    if (shared === null) return sum;
    const output = parts.linear('down', this.#sharedProducts.get(product) as string);
    return builder.node('Add', [sum, builder.node('Mul', [output, shared])]);
  }

  get #experts() {
    return this.shape.experts as NonNullable<ModelShape['experts']>;
  }

  #routingOf(name: string): Routing {
    return this.#routings.get(name) as Routing;
  }

  /** Where the values stand, the smallest first; equal ones in their order. Of an order, it is the way back. */
  #sorted(values: string): string {
    const { builder } = this;
    const inputs = [values, builder.node('Shape', [values])];
    return builder.nodes('TopK', inputs, { axis: 0n, largest: 0n }, 2)[1] as string;
  }

  /** The rows of each expert. */
  #split(rows: string, routing: string): readonly string[] {
    return this.builder.nodes('Split', [rows, this.#routingOf(routing).counts], { axis: 0n }, this.#experts.count);
  }

  #linears(role: LinearRole, rows: readonly string[]): string {
    const outputs = rows.map((own, expert) => this.parts.linear(role, own, expert));
    return this.builder.node('Concat', outputs, { axis: 0n });
  }
}
