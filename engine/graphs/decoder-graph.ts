import type { GramPrecision } from '../kernels';
import { linearKey } from '../models';
import type {
  ExpertShape,
  LayerAttention,
  LinearRole,
  LinearShape,
  ModelShape,
  NormKind,
} from '../models/architecture';
import type { DecoderOperators, ExpertProducts } from './decoder-operators';
import { ExpertGraph, silu } from './expert-graph';
import { GraphBuilder } from './graph-builder';
import { rotaryPairs } from './rotary-table';
import { roundedInput } from './rounded-input';
import { windowedAttention } from './windowed-attention';

/** Query rows that are scored at once: halves the work of causal attention and bounds its memory. */
export const ATTENTION_BLOCK_TOKENS = 128;

export interface DecoderGraphOptions {
  readonly shape: ModelShape;
  /** Of the architecture. Default: root mean square. */
  readonly norm?: NormKind;
  /** Roles of the parameters that there are beside the norm's. Default: none. */
  readonly parameters?: readonly string[];
  readonly linears: readonly LinearShape[];
  /** Every token counts for every expert in what is captured. */
  readonly allExperts?: boolean;
  /** Default: to every token before, with the shape's rotary positions. */
  readonly attention?: LayerAttention;
  /** What the factors of linears are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Tokens per sequence; -1 (the default) stands for one sequence of any length, continued from `past_key` and `past_value`. */
  readonly sequenceLength?: number;
}

/** Writes a graph of a decoder layer's operators. Weights are its inputs, by role (`q.weight`). */
export class DecoderGraph implements DecoderOperators<string> {
  readonly builder: GraphBuilder;
  readonly shape: ModelShape;
  readonly sequenceLength: number;
  readonly #precision: GramPrecision;
  readonly #norm: NormKind;
  readonly #attends: LayerAttention;
  readonly #linears: ReadonlyMap<string, LinearShape>;
  readonly #allExperts: boolean;
  readonly #parameters: ReadonlySet<string>;
  readonly #inputs = new Set<string>();
  #scope: GraphScope = { prefix: '', activations: {} };
  /** Keys and values of all positions seen, once a sequence that is continued has been attended to. */
  present: { readonly key: string; readonly value: string } | null = null;

  constructor(name: string, options: DecoderGraphOptions) {
    const { shape, linears, norm = 'rms-norm', parameters = [], precision = 'float32', sequenceLength = -1 } = options;
    this.builder = new GraphBuilder(name);
    this.shape = shape;
    this.sequenceLength = sequenceLength;
    this.#precision = precision;
    this.#norm = norm;
    this.#attends = options.attention ?? { window: null, rotary: shape.rotary };
    this.#parameters = new Set(parameters);
    this.#linears = new Map(linears.map((linear) => [linearKey(linear), linear]));
    this.#allExperts = options.allExperts ?? false;
  }

  /** What comes next belongs to another stage: its parameters are inputs of their own, what was computed before are its activations. */
  enter(scope: GraphScope): void {
    this.#scope = scope;
  }

  applies(role: LinearRole, expert?: number): boolean {
    return (this.#scope.applies ?? this.#linears).has(linearKey({ role, expert }));
  }

  activation(name: string): string {
    return this.#scope.activations[name] ?? this.#input(name, ['tokens', activationFeatures(name, this.shape)]);
  }

  /** Gemm with transB takes the weight as it lies in the file and is as fast as any other way. */
  linear(role: LinearRole, x: string, expert?: number): string {
    const key = linearKey({ role, expert });
    const { rows, columns, bias, inputs: rounding } = this.#linears.get(key) as LinearShape;
    const scale = rounding?.scale === undefined ? null : this.#input(`${key}.input-scale`, [1]);
    const input = rounding ? roundedInput(this.builder, x, { ...rounding, columns, scale }) : x;
    const factors = [input, this.#input(`${key}.weight`, [rows, columns])];
    const inputs = this.#precision === 'float32' ? factors : factors.map((factor) => this.builder.rounded(factor));
    if (bias) inputs.push(this.#input(`${key}.bias`, [rows]));
    return this.builder.node('Gemm', inputs, { transB: 1n });
  }

  norm(x: string): string {
    if (this.#norm === 'rms-norm') return this.#rootMeanSquareNorm('norm', x);
    const weight = this.#parameter('norm', this.shape.hiddenSize);
    const attributes = { axis: -1n, epsilon: this.shape.normEpsilon };
    const bias = this.#parameter('norm.bias', this.shape.hiddenSize);
    return this.builder.node('LayerNormalization', [x, weight, bias], attributes);
  }

  branchNorm(x: string): string {
    return this.#rootMeanSquareNorm('branch-norm', x);
  }

  add(a: string, b: string): string {
    return this.builder.node('Add', [a, b]);
  }

  gatedProduct(x: string, activation: 'silu' | 'gelu-tanh'): string {
    const [gate, up] = this.#gateAndUp(x) as [string, string];
    return this.builder.node('Mul', [activation === 'silu' ? silu(this.builder, gate) : this.gelu(gate), up]);
  }

  #gateAndUp(x: string): readonly string[] {
    if (!this.applies('gate-up')) return [this.linear('gate', x), this.linear('up', x)];
    return this.builder.nodes('Split', [this.linear('gate-up', x)], { axis: 1n, num_outputs: 2n }, 2);
  }

  gelu(x: string): string {
    return this.builder.node('Gelu', [x], { approximate: 'tanh' });
  }

  relu(x: string): string {
    return this.builder.node('Relu', [x]);
  }

  route(x: string): string {
    return this.#experts.route(x);
  }

  expertProducts(x: string, routing: string): ExpertProducts<string> {
    return this.#experts.products(x, routing);
  }

  expertSum(products: string, routing: string): string {
    return this.#experts.sum(products, routing);
  }

  get #experts(): ExpertGraph {
    return new ExpertGraph(this.builder, this.shape, this.#allExperts, {
      linear: (role, x, expert) => this.linear(role, x, expert),
      parameter: (role) => this.#matrix(role, parameterShape(role, this.shape)),
      gated: (x) => this.gatedProduct(x, 'silu'),
    });
  }

  /** Queries and keys with their positions turned in, and values: each `[batch, heads, sequence, headSize]`. */
  #queryKeyValue(x: string): { query: string; key: string; value: string } {
    const { heads, keyValueHeads } = this.shape;
    const [query, key, value] = this.#projections(x) as [string, string, string];
    return {
      query: this.#rotate(this.#rootMeanSquareNorm('q-norm', this.#splitHeads(query, heads))),
      key: this.#rotate(this.#rootMeanSquareNorm('k-norm', this.#splitHeads(key, keyValueHeads))),
      value: this.#splitHeads(value, keyValueHeads),
    };
  }

  /** q, k and v of x, each `[tokens, features]`. */
  #projections(x: string): readonly string[] {
    if (!this.applies('qkv')) return (['q', 'k', 'v'] as const).map((role) => this.linear(role, x));
    const { heads, keyValueHeads, headSize } = this.shape;
    const sizes = [heads, keyValueHeads, keyValueHeads].map((count) => count * headSize);
    return this.builder.nodes('Split', [this.linear('qkv', x), this.builder.integers(sizes)], { axis: 1n }, 3);
  }

  /** Where there is such a norm; the hidden state's is always there. */
  #rootMeanSquareNorm(role: string, x: string): string {
    if (role !== 'norm' && !this.#parameters.has(role)) return x;
    const attributes = { axis: -1n, epsilon: this.shape.normEpsilon };
    const weight = this.#matrix(role, parameterShape(role, this.shape));
    return this.builder.node('RMSNormalization', [x, weight], attributes);
  }

  /** Block of queries by block; one sequence that is continued at once. */
  selfAttention(x: string): string {
    const { sequenceLength } = this;
    const { query, key, value } = this.#queryKeyValue(x);
    if (sequenceLength === -1) return this.#continued(query, key, value);
    const blocks: string[] = [];
    for (let first = 0; first < sequenceLength; first += ATTENTION_BLOCK_TOKENS) {
      const end = Math.min(sequenceLength, first + ATTENTION_BLOCK_TOKENS);
      const [q, k, v] = [query, key, value].map((x) => this.#positions(x, first, end));
      if (this.#isWindowed(sequenceLength)) {
        const from = Math.max(0, first + 1 - (this.#attends.window ?? sequenceLength));
        const [keys, values] = [key, value].map((x) => this.#positions(x, from, end));
        const lengths = { queries: end - first, keys: end - from };
        blocks.push(this.#windowed(q as string, keys as string, values as string, lengths));
        continue;
      }
      const past = first === 0 ? [] : ['', ...[key, value].map((x) => this.#positions(x, 0, first))];
      const outputs = this.#attention([q as string, k as string, v as string, ...past]);
      blocks.push(outputs.context);
    }
    return this.#mergeHeads(
      blocks.length === 1 ? (blocks[0] as string) : this.builder.node('Concat', blocks, { axis: 2n }),
    );
  }

  #continued(query: string, key: string, value: string): string {
    const { keyValueHeads, headSize } = this.shape;
    const past = ['past_key', 'past_value'].map((name) => this.#input(name, [1, keyValueHeads, 'past', headSize]));
    if (this.#isWindowed(Number.POSITIVE_INFINITY)) {
      const [keys, values] = [key, value].map((x, i) =>
        this.builder.node('Concat', [past[i] as string, x], { axis: 2n }),
      ) as [string, string];
      this.present = { key: keys, value: values };
      return this.#mergeHeads(this.#windowed(query, keys, values, { queries: -1, keys: -1 }));
    }
    const { context, ...present } = this.#attention([query, key, value, '', ...past]);
    this.present = present;
    return this.#mergeHeads(context);
  }

  /** Whether attention over so many tokens is not what Attention-23 computes by itself. */
  #isWindowed(tokens: number): boolean {
    const { window } = this.#attends;
    return this.shape.scoreCap !== undefined || (window !== null && window < tokens);
  }

  #windowed(query: string, key: string, value: string, lengths: { queries: number; keys: number }): string {
    const { heads, keyValueHeads, headSize, scoreScale, scoreCap } = this.shape;
    return windowedAttention(this.builder, {
      ...{ query, key, value, heads, keyValueHeads, headSize },
      ...lengths,
      window: this.#attends.window,
      scale: scoreScale ?? 1 / Math.sqrt(headSize),
      cap: scoreCap ?? null,
    });
  }

  /** ONNX Attention-23 with `[query, key, value]`, or with `['', past key, past value]` after them. */
  #attention(inputs: readonly string[]): { context: string; key: string; value: string } {
    const { scoreScale } = this.shape;
    const attributes = { is_causal: 1n, ...(scoreScale !== undefined && { scale: scoreScale }) };
    // The operator insists that past inputs and present outputs come together.
    const [context, key, value] = this.builder.nodes('Attention', inputs, attributes, inputs.length > 3 ? 3 : 1);
    return { context: context as string, key: key as string, value: value as string };
  }

  /** `[batch, heads, sequence, headSize]` to `[tokens, heads · headSize]`. */
  #mergeHeads(x: string): string {
    const rows = this.builder.node('Transpose', [x], { perm: [0n, 2n, 1n, 3n] });
    return this.builder.node('Reshape', [rows, this.builder.integers([-1, this.shape.heads * this.shape.headSize])]);
  }

  #splitHeads(x: string, heads: number): string {
    const batch = this.sequenceLength === -1 ? 1 : -1;
    const sizes = this.builder.integers([batch, this.sequenceLength, heads, this.shape.headSize]);
    return this.builder.node('Transpose', [this.builder.node('Reshape', [x, sizes])], { perm: [0n, 2n, 1n, 3n] });
  }

  #rotate(x: string): string {
    const { rotary } = this.#attends;
    if (rotary === null) return x;
    const pairs = rotaryPairs(rotary, this.shape.headSize);
    const tables = ['cos', 'sin'].map((name) => this.#input(name, ['positions', pairs]));
    const ids = this.#input('positionIds', ['batch', 'sequence'], 'int64');
    const { rotated } = rotary;
    const attributes = { ...(rotated !== undefined && { rotary_embedding_dim: BigInt(rotated) }) };
    return this.builder.node('RotaryEmbedding', [x, ...tables, ids], attributes);
  }

  #positions(x: string, first: number, end: number): string {
    if (first === 0 && end === this.sequenceLength) return x;
    const { builder } = this;
    return builder.node('Slice', [x, builder.integers([first]), builder.integers([end]), builder.integers([2])]);
  }

  #parameter(role: string, size: number): string {
    return this.#matrix(role, [size]);
  }

  #matrix(role: string, shape: readonly number[]): string {
    return this.#input(this.#scope.prefix + role, shape);
  }

  #input(name: string, shape: readonly (number | string)[], type: 'float' | 'int64' = 'float'): string {
    if (!this.#inputs.has(name)) this.builder.input(name, shape, type);
    this.#inputs.add(name);
    return name;
  }
}

/** A stage within a graph of several. */
export interface GraphScope {
  /** Of the names of its parameters. */
  readonly prefix: string;
  /** Activations that were computed before, by name. */
  readonly activations: Readonly<Record<string, string>>;
  /** The linears it applies, by `linearKey`. Default: all. */
  readonly applies?: ReadonlySet<string>;
}

/** Of a parameter of a stage. */
export function parameterShape(role: string, { hiddenSize, headSize, experts }: ModelShape): readonly number[] {
  if (role === 'router') return [experts?.count ?? 0, hiddenSize];
  if (role === 'shared-router') return [1, hiddenSize];
  return [role === 'q-norm' || role === 'k-norm' ? headSize : hiddenSize];
}

/** Features of an activation that stages hand on. */
export function activationFeatures(name: string, shape: ModelShape): number {
  if (name === 'context') return shape.heads * shape.headSize;
  if (name === 'product') return shape.intermediateSize;
  if (name === 'routing' || name === 'expert-products') {
    const { perToken, intermediateSize, sharedIntermediateSize } = shape.experts as ExpertShape;
    if (name === 'routing') return 2 * perToken + (sharedIntermediateSize > 0 ? 1 : 0);
    return perToken * intermediateSize + sharedIntermediateSize;
  }
  return shape.hiddenSize;
}

/** Features of the widest activation that the feed-forward part of a layer hands on. */
export function feedForwardFeatures(shape: ModelShape): number {
  return Math.max(shape.intermediateSize, shape.experts ? activationFeatures('expert-products', shape) : 0);
}

/**
 * Element type that an activation is kept in between stages. With bfloat16 factors, what only linears read loses nothing in bfloat16:
 * they round it in any case.
 */
export function activationDtype(name: string, precision: GramPrecision): 'F32' | 'BF16' {
  return precision === 'bfloat16' && name !== 'hidden' && name !== 'routing' ? 'BF16' : 'F32';
}
