import type { LinearRole } from '../models';
import type { ExpertShape, ModelShape } from '../models/architecture';
import type { ExpertProducts } from './decoder-operators';
import type { GraphBuilder } from './graph-builder';

/** What experts are made of in the graph of a decoder layer. */
export interface ExpertLayer {
  /** Of an expert, or the shared one. */
  linear(role: LinearRole, x: string, expert?: number): string;
  /** `router`, `shared-router`. */
  parameter(role: string): string;
  /** The shared expert's product. */
  gated(x: string): string;
}

/** The operators of a mixture of experts in standard ONNX: the rows of an expert's tokens are gathered, and what it makes of them is scattered. */
export class ExpertGraph {
  readonly #experts: ExpertShape;

  constructor(
    private readonly builder: GraphBuilder,
    private readonly shape: Pick<ModelShape, 'hiddenSize' | 'experts'>,
    private readonly allExperts: boolean,
    private readonly layer: ExpertLayer,
  ) {
    this.#experts = shape.experts as ExpertShape;
  }

  /** See `DecoderOperators.route`. */
  route(x: string): string {
    const { builder, layer } = this;
    const { perToken, normalized, sharedIntermediateSize } = this.#experts;
    const scores = (role: string) => builder.node('Gemm', [x, layer.parameter(role)], { transB: 1n });
    const probabilities = builder.node('Softmax', [scores('router')], { axis: -1n });
    const best = builder.nodes('TopK', [probabilities, builder.integers([perToken])], { axis: -1n }, 2);
    const [largest, chosen] = best as readonly [string, string];
    const weights = normalized
      ? builder.node('Div', [largest, builder.node('ReduceSum', [largest, builder.integers([1])])])
      : largest;
    const parts = [builder.cast(chosen, 'float'), weights];
    if (sharedIntermediateSize > 0) parts.push(builder.node('Sigmoid', [scores('shared-router')]));
    return builder.node('Concat', parts, { axis: 1n });
  }

  /** See `DecoderOperators.expertProducts`. */
  products(x: string, routing: string): ExpertProducts<string> {
    const { builder, layer } = this;
    const { count, perToken, intermediateSize, sharedIntermediateSize } = this.#experts;
    const shared = sharedIntermediateSize > 0 ? [layer.gated(x)] : [];
    const withShared = (products: string) =>
      shared.length === 0 ? products : builder.node('Concat', [products, ...shared], { axis: 1n });
    const productOf = (expert: number, rows: string) =>
      builder.node('Mul', [silu(builder, layer.linear('gate', rows, expert)), layer.linear('up', rows, expert)]);
    const flat = (products: string) =>
      builder.node('Reshape', [products, builder.integers([-1, perToken * intermediateSize])]);
    if (!this.allExperts) {
      const products = withShared(
        flat(
          this.#byExpert(routing, intermediateSize, (expert, places) =>
            productOf(expert, builder.node('Gather', [x, builder.node('Div', [places, builder.integers(perToken)])])),
          ),
        ),
      );
      return { products, captured: products };
    }
    const all = builder.node(
      'Concat',
      Array.from({ length: count }, (_, expert) => productOf(expert, x)),
      { axis: 1n },
    );
    const byExpert = builder.node('Reshape', [all, builder.integers([-1, count, intermediateSize])]);
    const chosen = builder.node('Unsqueeze', [this.#chosen(routing), builder.integers([2])]);
    const routed = builder.node('GatherND', [byExpert, chosen], { batch_dims: 1n });
    return { products: withShared(flat(routed)), captured: withShared(all) };
  }

  /** See `DecoderOperators.expertSum`. */
  sum(products: string, routing: string): string {
    const { builder, layer } = this;
    const { hiddenSize } = this.shape;
    const { perToken, intermediateSize, sharedIntermediateSize } = this.#experts;
    const split = perToken * intermediateSize;
    const columns = (x: string, first: number, count: number) =>
      builder.node('Slice', [x, ...[[first], [first + count], [1]].map((value) => builder.integers(value))]);
    const routed = builder.node('Reshape', [columns(products, 0, split), builder.integers([-1, intermediateSize])]);
    const outputs = this.#byExpert(routing, hiddenSize, (expert, places) =>
      layer.linear('down', builder.node('Gather', [routed, places]), expert),
    );
    const weights = builder.node('Reshape', [columns(routing, perToken, perToken), builder.integers([-1, 1])]);
    const weighed = builder.node('Mul', [outputs, weights]);
    const byToken = builder.node('Reshape', [weighed, builder.integers([-1, perToken, hiddenSize])]);
    const sum = builder.node('ReduceSum', [byToken, builder.integers([1])], { keepdims: 0n });
    if (sharedIntermediateSize === 0) return sum;
    const shared = layer.linear('down', columns(products, split, sharedIntermediateSize));
    return builder.node('Add', [sum, builder.node('Mul', [shared, columns(routing, 2 * perToken, 1)])]);
  }

  /** Indices of the experts, `[tokens, perToken]`. */
  #chosen(routing: string): string {
    const { perToken } = this.#experts;
    const { builder } = this;
    const range = [[0], [perToken], [1]].map((value) => builder.integers(value));
    return builder.cast(builder.node('Slice', [routing, ...range]), 'int64');
  }

  /**
   * What `compute` makes of the places (token · perToken + its nth expert) that each expert is chosen in, back in these places:
   * `[tokens · perToken, features]`.
   */
  #byExpert(routing: string, features: number, compute: (expert: number, places: string) => string): string {
    const { builder } = this;
    const { count } = this.#experts;
    const flat = builder.node('Reshape', [this.#chosen(routing), builder.integers([-1])]);
    const places: string[] = [];
    const results: string[] = [];
    for (let expert = 0; expert < count; expert++) {
      const found = builder.node('NonZero', [builder.node('Equal', [flat, builder.integers(expert)])]);
      const own = builder.node('Reshape', [found, builder.integers([-1])]);
      places.push(own);
      results.push(compute(expert, own));
    }
    const size = builder.node('Concat', [builder.node('Shape', [flat]), builder.integers([features])], { axis: 0n });
    const empty = builder.node('Expand', [builder.scalar(0), size]);
    const indices = builder.node('Unsqueeze', [builder.node('Concat', places, { axis: 0n }), builder.integers([1])]);
    return builder.node('ScatterND', [empty, indices, builder.node('Concat', results, { axis: 0n })]);
  }
}

export function silu(builder: GraphBuilder, x: string): string {
  return builder.node('Mul', [x, builder.node('Sigmoid', [x])]);
}
