import type { GramPrecision } from '../kernels';
import type { LinearShape, ModelShape } from '../models/architecture';
import type { DecoderOperators } from './decoder-operators';
import { GraphBuilder } from './graph-builder';

/** Query rows that are scored at once: halves the work of causal attention and bounds its memory. */
export const ATTENTION_BLOCK_TOKENS = 128;

export interface DecoderGraphOptions {
  readonly shape: ModelShape;
  readonly linears: readonly LinearShape[];
  /** What the factors of linears are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Tokens per sequence; -1 (the default) stands for one sequence of any length. */
  readonly sequenceLength?: number;
}

/** Writes a graph of a decoder layer's operators. Weights are its inputs, by role (`q_proj.weight`). */
export class DecoderGraph implements DecoderOperators<string> {
  readonly builder: GraphBuilder;
  readonly shape: ModelShape;
  readonly sequenceLength: number;
  readonly #precision: GramPrecision;
  readonly #linears: ReadonlyMap<string, LinearShape>;
  readonly #inputs = new Set<string>();

  constructor(name: string, { shape, linears, precision = 'float32', sequenceLength = -1 }: DecoderGraphOptions) {
    this.builder = new GraphBuilder(name);
    this.shape = shape;
    this.sequenceLength = sequenceLength;
    this.#precision = precision;
    this.#linears = new Map(linears.map((linear) => [linearRole(linear.name), linear]));
  }

  applies(role: string): boolean {
    return this.#linears.has(role);
  }

  activation(name: string): string {
    return this.#input(name, ['tokens', activationFeatures(name, this.shape)]);
  }

  /** Gemm with transB takes the weight as it lies in the file and is as fast as any other way. */
  linear(role: string, x: string): string {
    const { rows, columns, bias } = this.#linears.get(role) as LinearShape;
    const factors = [x, this.#input(`${role}.weight`, [rows, columns])];
    const inputs = this.#precision === 'float32' ? factors : factors.map((factor) => this.builder.rounded(factor));
    if (bias) inputs.push(this.#input(`${role}.bias`, [rows]));
    return this.builder.node('Gemm', inputs, { transB: 1n });
  }

  norm(x: string, role = 'norm'): string {
    const weight = this.#input(role, [this.shape.hiddenSize]);
    return this.builder.node('RMSNormalization', [x, weight], { axis: -1n, epsilon: this.shape.normEpsilon });
  }

  add(a: string, b: string): string {
    return this.builder.node('Add', [a, b]);
  }

  gatedProduct(x: string): string {
    const gate = this.linear('gate_proj', x);
    const activated = this.builder.node('Mul', [gate, this.builder.node('Sigmoid', [gate])]);
    return this.builder.node('Mul', [activated, this.linear('up_proj', x)]);
  }

  /** Queries and keys with their positions turned in, and values: each `[batch, heads, sequence, headSize]`. */
  queryKeyValue(x: string): { query: string; key: string; value: string } {
    const { heads, keyValueHeads } = this.shape;
    return {
      query: this.#rotate(this.#splitHeads(this.linear('q_proj', x), heads)),
      key: this.#rotate(this.#splitHeads(this.linear('k_proj', x), keyValueHeads)),
      value: this.#splitHeads(this.linear('v_proj', x), keyValueHeads),
    };
  }

  /** Block of queries by block. */
  selfAttention(x: string): string {
    const { sequenceLength } = this;
    const { query, key, value } = this.queryKeyValue(x);
    const blocks: string[] = [];
    for (let first = 0; first < sequenceLength; first += ATTENTION_BLOCK_TOKENS) {
      const end = Math.min(sequenceLength, first + ATTENTION_BLOCK_TOKENS);
      const [q, k, v] = [query, key, value].map((x) => this.#positions(x, first, end));
      const past = first === 0 ? [] : ['', ...[key, value].map((x) => this.#positions(x, 0, first))];
      const outputs = this.attention([q as string, k as string, v as string, ...past]);
      blocks.push(outputs.context);
    }
    return this.mergeHeads(
      blocks.length === 1 ? (blocks[0] as string) : this.builder.node('Concat', blocks, { axis: 2n }),
    );
  }

  /** ONNX Attention-23 with `[query, key, value]`, or with `['', past key, past value]` after them. */
  attention(inputs: readonly string[]): { context: string; key: string; value: string } {
    // The operator insists that past inputs and present outputs come together.
    const [context, key, value] = this.builder.nodes('Attention', inputs, { is_causal: 1n }, inputs.length > 3 ? 3 : 1);
    return { context: context as string, key: key as string, value: value as string };
  }

  /** `[batch, heads, sequence, headSize]` to `[tokens, heads · headSize]`. */
  mergeHeads(x: string): string {
    const rows = this.builder.node('Transpose', [x], { perm: [0n, 2n, 1n, 3n] });
    return this.builder.node('Reshape', [rows, this.builder.integers([-1, this.shape.heads * this.shape.headSize])]);
  }

  #splitHeads(x: string, heads: number): string {
    const batch = this.sequenceLength === -1 ? 1 : -1;
    const sizes = this.builder.integers([batch, this.sequenceLength, heads, this.shape.headSize]);
    return this.builder.node('Transpose', [this.builder.node('Reshape', [x, sizes])], { perm: [0n, 2n, 1n, 3n] });
  }

  #rotate(x: string): string {
    const pairs = this.shape.headSize / 2;
    const tables = ['cos', 'sin'].map((name) => this.#input(name, ['positions', pairs]));
    return this.builder.node('RotaryEmbedding', [
      x,
      ...tables,
      this.#input('positionIds', ['batch', 'sequence'], 'int64'),
    ]);
  }

  #positions(x: string, first: number, end: number): string {
    if (first === 0 && end === this.sequenceLength) return x;
    const { builder } = this;
    return builder.node('Slice', [x, builder.integers([first]), builder.integers([end]), builder.integers([2])]);
  }

  #input(name: string, shape: readonly (number | string)[], type: 'float' | 'int64' = 'float'): string {
    if (!this.#inputs.has(name)) this.builder.input(name, shape, type);
    this.#inputs.add(name);
    return name;
  }
}

/** `model.layers.3.self_attn.q_proj` has the role `q_proj` in every layer's graph. */
export function linearRole(module: string): string {
  return module.slice(module.lastIndexOf('.') + 1);
}

/** Features of an activation that stages hand on. */
export function activationFeatures(name: string, shape: ModelShape): number {
  if (name === 'context') return shape.heads * shape.headSize;
  if (name === 'product') return shape.intermediateSize;
  return shape.hiddenSize;
}

/**
 * Element type that an activation is kept in between stages. With bfloat16 factors, what only linears read loses nothing in bfloat16:
 * they round it in any case.
 */
export function activationDtype(name: string, precision: GramPrecision): 'F32' | 'BF16' {
  return precision === 'bfloat16' && name !== 'hidden' ? 'BF16' : 'F32';
}
