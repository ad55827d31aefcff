import { type GramPrecision, type KernelChoice, type NativeAddon, selectKernels } from '../kernels';
import { encodeBfloat16 } from '../numbers';
import { activationDtype } from './decoder-graph';
import { GraphBuilder } from './graph-builder';
import { ScratchFloats } from './scratch-floats';
import { type SessionOptions, sessionFor } from './session-pool';
import { floatFeed } from './stage-feeds';
import { activationFloats, type StoredActivation } from './stored-activation';
import { unsharedFloats } from './unshared-floats';

/** A linear that ends a residual branch, whose input a stage captures. */
export interface MismatchedLinear {
  /** Output features: the size of the hidden state. */
  readonly rows: number;
  /** Input features. */
  readonly columns: number;
  /** Its input: the activation's name. */
  readonly input: string;
  /** `[rows]`; null: none. */
  readonly bias: Float32Array | null;
}

export interface MismatchSumOptions extends MismatchedLinear, SessionOptions {
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** What the factors of linears are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Who multiplies. Default: what the process prefers. */
  readonly kernels?: KernelChoice;
}

/** Some whole sequences, `[sequences · sequenceLength, features]`; of what is longer the first ones count. */
export interface MismatchBatch {
  /** h: what the linear's output is added to, behind quantized layers. */
  readonly hidden: StoredActivation;
  /** h₀ + W x₀ + bias: what the original model has behind it. */
  readonly original: StoredActivation;
  /** x: the linear's input, behind quantized layers. */
  readonly input: StoredActivation;
  readonly threads: number;
}

/** Σ (h₀ + W x₀ - h) xᵀ. */
export interface SummedMismatch {
  /** `[rows, columns]`. */
  readonly sum: Float32Array;
  /** Tokens that it sums over. */
  readonly tokens: number;
}

const scratch = new ScratchFloats();

/**
 * What the input of a linear that ends a residual branch knows of what has gone wrong so far. Sums are float32 within a batch, float64
 * over them. Sequences with anything in them that is not finite, or whose squares overflow, are left out.
 */
export class MismatchSum {
  readonly #sums: Float64Array;
  readonly #native: NativeAddon | null;
  #sequences = 0;

  constructor(private readonly options: MismatchSumOptions) {
    this.#sums = new Float64Array(options.rows * options.columns);
    this.#native = selectKernels(options.kernels).native;
  }

  async add(batch: MismatchBatch): Promise<void> {
    const { rows, columns, sequenceLength } = this.options;
    const sequences = batch.original.length / (sequenceLength * rows);
    const tokens = sequences * sequenceLength;
    const missing = this.#missing(batch, tokens * rows);
    const x = activationFloats('input', this.#asStored(batch.input.subarray(0, tokens * columns)), scratch);
    const missingOf = (sequence: number) => rowsOfSequence(missing, sequence, sequenceLength * rows);
    const inputOf = (sequence: number) => rowsOfSequence(x, sequence, sequenceLength * columns);
    const finite = Array.from({ length: sequences }, (_, i) => i).filter(
      (sequence) => hasFiniteSquares(missingOf(sequence)) && hasFiniteSquares(inputOf(sequence)),
    );
    if (finite.length === sequences) await this.#addProduct(missing, x, tokens, batch.threads);
    else for (const i of finite) await this.#addProduct(missingOf(i), inputOf(i), sequenceLength, batch.threads);
    this.#sequences += finite.length;
  }

  total(): SummedMismatch {
    return { sum: Float32Array.from(this.#sums), tokens: this.#sequences * this.options.sequenceLength };
  }

  /** h₀ + W x₀ - h, `[tokens, rows]`. */
  #missing({ hidden, original }: MismatchBatch, count: number): Float32Array {
    const { rows, bias } = this.options;
    const right = activationFloats('original', original, scratch);
    const wrong = activationFloats('hidden', hidden.subarray(0, count), scratch);
    const missing = scratch.of('missing', count);
    for (let i = 0; i < count; i++) missing[i] = (right[i] as number) - (wrong[i] as number);
    if (bias) for (let i = 0; i < count; i++) missing[i] = (missing[i] as number) - (bias[i % rows] as number);
    return missing;
  }

  /** Whoever hands it over, x is what is kept between stages. */
  #asStored(input: StoredActivation): StoredActivation {
    const { input: name, precision = 'float32' } = this.options;
    const rounded = input instanceof Float32Array && activationDtype(name, precision) === 'BF16';
    return rounded ? encodeBfloat16(input, new Uint16Array(input.length)) : input;
  }

  async #addProduct(missing: Float32Array, x: Float32Array, tokens: number, threads: number): Promise<void> {
    const { rows, columns } = this.options;
    const sums = this.#sums;
    if (this.#native) {
      this.#native.addProduct(sums, missing, rows, x, columns, threads);
      return;
    }
    const session = await sessionFor(`mismatch ${rows} ${columns}`, this.options, () => productGraph(rows, columns));
    const part = scratch.of('part', rows * columns);
    const feeds = {
      missing: floatFeed(missing, [tokens, rows]),
      x: floatFeed(unsharedFloats('input', x, scratch), [tokens, columns]),
    };
    await session.run(feeds, { product: floatFeed(part, [rows, columns]) });
    for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (part[i] as number);
  }
}

/** `missingᵀ x`. */
function productGraph(rows: number, columns: number): Uint8Array {
  const graph = new GraphBuilder('mismatch');
  const missing = graph.input('missing', ['tokens', rows]);
  const x = graph.input('x', ['tokens', columns]);
  graph.output('product', graph.node('Gemm', [missing, x], { transA: 1n }), [rows, columns]);
  return graph.build();
}

function rowsOfSequence(values: Float32Array, sequence: number, length: number): Float32Array {
  return values.subarray(sequence * length, (sequence + 1) * length);
}

/** Also for a whole sequence, whose squares are added in float64. */
function hasFiniteSquares(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) ** 2;
  return sum < 3.4e38;
}
