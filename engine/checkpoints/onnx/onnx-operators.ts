import { attentionOf } from '../../graphs/attention-of';
import type { DecoderOperators, ExpertProducts } from '../../graphs/decoder-operators';
import type { GraphBuilder } from '../../graphs/graph-builder';
import type { LinearRole, ModelShape, NormKind, RotaryScaling, Stage } from '../../models/architecture';
import type { ModelWeights } from './model-weights';
import { OnnxExperts } from './onnx-experts';

export interface OnnxOperatorsOptions {
  readonly builder: GraphBuilder;
  readonly weights: ModelWeights;
  readonly shape: ModelShape;
  readonly norm: NormKind;
  /** What attention reads beside queries, keys and values. */
  readonly attention: AttentionInputs;
}

/** Names of graph values. */
export interface AttentionInputs {
  /** int32 `[batch]`: tokens of each sequence in the cache and in the input, minus one. */
  readonly lastPositions: string;
  /** int32, a scalar: the largest of them plus one. */
  readonly totalTokens: string;
  /** `[positions, pairs]` each. */
  rotaryCaches(rotary: RotaryScaling): { readonly cos: string; readonly sin: string };
}

/** What a layer keeps of every token. */
const CACHE = ['key', 'value'] as const;

/**
 * The operators of a decoder, written stage after stage into one graph with fused operators of onnxruntime (com.microsoft) and a
 * key-value cache. Activations are `[batch, sequence, features]`.
 *
 * Sums are written with the norm that follows them. What several stages compute alike is written once.
 */
export class OnnxOperators implements DecoderOperators<string> {
  readonly sequenceLength = -1;
  readonly #options: OnnxOperatorsOptions;
  readonly #experts: OnnxExperts;
  readonly #activations = new Map<string, string>();
  readonly #sums = new Map<string, readonly [string, string]>();
  readonly #normed = new Map<string, string>();
  #stage: Stage | null = null;
  #values = 0;
  readonly #present: string[] = [];

  constructor(options: OnnxOperatorsOptions) {
    this.#options = options;
    this.#experts = new OnnxExperts(options.builder, options.shape, {
      linear: (role, x, expert) => this.linear(role, x, expert),
      parameter: (role) => this.#parameter(role) as string,
      gated: (x) => this.gatedProduct(x, 'silu'),
    });
  }

  /** What layers leave in the cache, in their order: values that are outputs of the graph. */
  get present(): readonly string[] {
    return this.#present;
  }

  /** The stage whose linears and parameters come next, all of them loaded. */
  enter(stage: Stage): void {
    this.#stage = stage;
  }

  /** What later stages read under these names. */
  leave(activations: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(activations)) this.#activations.set(name, value);
  }

  applies(role: LinearRole, expert?: number): boolean {
    return this.#moduleOf(role, expert) !== undefined;
  }

  activation(name: string): string {
    const value = this.#activations.get(name);
    if (value !== undefined) return value;
    throw new Error(`No stage has left the activation ${name}.`);
  }

  linear(role: LinearRole, x: string, expert?: number): string {
    return this.#options.weights.product(this.#moduleOf(role, expert) as string, this.#written(x));
  }

  norm(x: string): string {
    const parameters = ['norm', 'norm.bias'].flatMap((role) => this.#parameter(role) ?? []);
    const key = `${parameters[0]} ${x}`;
    const known = this.#normed.get(key);
    if (known !== undefined) return known;
    const sum = this.#sums.get(x);
    const normed = sum ? this.#normedSum(x, sum, parameters) : this.#alone(x, parameters);
    this.#normed.set(key, normed);
    return normed;
  }

  branchNorm(x: string): string {
    const gain = this.#parameter('branch-norm');
    return gain === undefined ? x : this.#rootMeanSquareNorm(x, gain);
  }

  add(a: string, b: string): string {
    const sum = this.#name('sum');
    this.#sums.set(sum, [this.#written(a), this.#written(b)]);
    return sum;
  }

  gatedProduct(x: string, activation: 'silu' | 'gelu-tanh'): string {
    const { builder } = this.#options;
    const [gate, up] = this.#gateAndUp(x) as [string, string];
    const activated =
      activation === 'silu' ? builder.node('Mul', [gate, builder.node('Sigmoid', [gate])]) : this.gelu(gate);
    return builder.node('Mul', [activated, up]);
  }

  #gateAndUp(x: string): readonly string[] {
    if (!this.applies('gate-up')) return [this.linear('gate', x), this.linear('up', x)];
    return this.#options.builder.nodes('Split', [this.linear('gate-up', x)], { axis: -1n, num_outputs: 2n }, 2);
  }

  gelu(x: string): string {
    return this.#options.builder.node('Gelu', [x], { approximate: 'tanh' });
  }

  relu(x: string): string {
    return this.#options.builder.node('Relu', [x]);
  }

  route(x: string): string {
    return this.#experts.route(x);
  }

  expertProducts(x: string, routing: string): ExpertProducts<string> {
    const products = this.#experts.products(x, routing);
    return { products, captured: products };
  }

  expertSum(products: string, routing: string): string {
    return this.#experts.sum(products, routing, this.activation('hidden'));
  }

  selfAttention(x: string): string {
    const { builder, shape, attention } = this.#options;
    const { heads, keyValueHeads, headSize, scoreScale, scoreCap } = shape;
    const { window, rotary } = attentionOf(this.#stage as Stage, shape);
    const caches = rotary && attention.rotaryCaches(rotary);
    const layer = this.#present.length / CACHE.length;
    const pastShape = ['batch_size', keyValueHeads, 'past_sequence_length', headSize];
    const past = CACHE.map((what) => builder.input(`past_key_values.${layer}.${what}`, pastShape));
    const present = CACHE.map((what) => `present.${layer}.${what}`);
    const { lastPositions, totalTokens } = attention;
    const context = this.#name('context');
    builder.nodes(
      'com.microsoft.GroupQueryAttention',
      [...this.#queryKeyValue(x), ...past, lastPositions, totalTokens, ...(caches ? [caches.cos, caches.sin] : [])],
      {
        num_heads: BigInt(heads),
        kv_num_heads: BigInt(keyValueHeads),
        scale: scoreScale ?? 1 / Math.sqrt(headSize),
        do_rotary: rotary ? 1n : 0n,
        rotary_interleaved: 0n,
        ...(window !== null && { local_window_size: BigInt(window) }),
        ...(scoreCap !== undefined && { softcap: scoreCap }),
      },
      [context, ...present],
    );
    this.#present.push(...present);
    return context;
  }

  /** The operator takes q, k and v in one as well. */
  #queryKeyValue(x: string): readonly string[] {
    if (this.applies('qkv')) return [this.linear('qkv', x), '', ''];
    const { heads, keyValueHeads } = this.#options.shape;
    return [
      this.#normHeads('q-norm', this.linear('q', x), heads),
      this.#normHeads('k-norm', this.linear('k', x), keyValueHeads),
      this.linear('v', x),
    ];
  }

  #normHeads(role: string, x: string, heads: number): string {
    const gain = this.#parameter(role);
    if (gain === undefined) return x;
    const { builder, shape } = this.#options;
    const split = builder.node('Reshape', [x, builder.integers([0, 0, heads, shape.headSize])]);
    const normed = this.#rootMeanSquareNorm(split, gain);
    return builder.node('Reshape', [normed, builder.integers([0, 0, heads * shape.headSize])]);
  }

  /** `sum` under its name x too. */
  #normedSum(x: string, sum: readonly [string, string], parameters: readonly string[]): string {
    const { builder, shape, norm } = this.#options;
    this.#sums.delete(x);
    const operator = norm === 'rms-norm' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization';
    const normed = this.#name('norm');
    const outputs = [normed, '', '', x];
    builder.nodes(`com.microsoft.${operator}`, [...sum, ...parameters], { epsilon: shape.normEpsilon }, outputs);
    return normed;
  }

  #alone(x: string, parameters: readonly string[]): string {
    const { builder, shape, norm } = this.#options;
    if (norm === 'rms-norm') return this.#rootMeanSquareNorm(x, parameters[0] as string);
    return builder.node('LayerNormalization', [x, ...parameters], { axis: -1n, epsilon: shape.normEpsilon });
  }

  /**
   * In standard operators, as onnxruntime recognizes them: it makes its SimplifiedLayerNormalization of them, which has no place in a file, since
   * ONNX knows no operator of this name.
   */
  #rootMeanSquareNorm(x: string, gain: string): string {
    const { builder, shape } = this.#options;
    const squares = builder.node('Pow', [x, builder.scalar(2)]);
    const mean = builder.node('ReduceMean', [squares, builder.integers([-1])], { keepdims: 1n });
    const root = builder.node('Sqrt', [builder.node('Add', [mean, builder.scalar(shape.normEpsilon)])]);
    return builder.node('Mul', [builder.node('Div', [x, root]), gain]);
  }

  #parameter(role: string): string | undefined {
    const name = this.#stage?.parameters[role];
    return name === undefined ? undefined : this.#options.weights.constant(name);
  }

  #moduleOf(role: LinearRole, expert?: number): string | undefined {
    return this.#stage?.applies.find((linear) => linear.role === role && linear.expert === expert)?.name;
  }

  /** A sum that no norm followed. */
  #written(x: string): string {
    const sum = this.#sums.get(x);
    if (!sum) return x;
    this.#sums.delete(x);
    this.#options.builder.nodes('Add', sum, {}, [x]);
    return x;
  }

  #name(what: string): string {
    return `${what}_${this.#values++}`;
  }
}
