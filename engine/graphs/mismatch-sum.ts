import { isCpu } from '../devices/device';
import {
  createGram,
  type Gram,
  type GramPrecision,
  type KernelChoice,
  type NativeAddon,
  selectKernels,
} from '../kernels';
import { ownMemory, zeroSums } from '../memory';
import type { ResidualEnd } from '../models';
import { decodeBfloat16, encodeBfloat16 } from '../numbers';
import { activationDtype } from './decoder-graph';
import { GraphBuilder } from './graph-builder';
import { packedWeight } from './packed-weights';
import { ScratchFloats } from './scratch-floats';
import { type SessionOptions, sessionFor } from './session-pool';
import { type FloatTensors, floatFeed, weightFeed } from './stage-feeds';
import type { StageMemory } from './stage-stream';
import { activationFloats, type StoredActivation } from './stored-activation';
import { unsharedFloats } from './unshared-floats';

/** A linear whose mismatch is summed. */
export interface MismatchedLinear extends Pick<ResidualEnd, 'linear' | 'input'> {
  /** Sum x xᵀ too: where the original is known of some sequences only, so that XᵀX of the stage is over others. */
  readonly gram: boolean;
}

export interface MismatchSumOptions extends MismatchedLinear, SessionOptions {
  /** By tensor name: the linear's weight in the original model, and its bias where it has one. */
  readonly weights: FloatTensors;
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** What the factors of linears are rounded to. Default float32. */
  readonly precision?: GramPrecision;
  /** Who multiplies. Default: what the process prefers. */
  readonly kernels?: KernelChoice;
  /** Where memory comes from. Default: fresh. */
  readonly memory?: StageMemory;
}

/** Some whole sequences, `[sequences · sequenceLength, features]`; of what is longer the first ones count. */
export interface MismatchBatch {
  /** h: what the linear's output is added to, behind quantized layers. */
  readonly hidden: StoredActivation;
  /** x: the linear's input, behind quantized layers. */
  readonly input: StoredActivation;
  /** What the original model has behind the linear. */
  readonly original: StoredActivation;
  readonly threads: number;
}

export interface SummedMismatch {
  /** `[2, rows, columns]`: over the even sequences, and over the odd ones. */
  readonly sum: Float32Array;
  /** `[columns, columns]`: Σ x xᵀ over the same tokens; null when not asked for. */
  readonly gram: Float32Array | null;
  /** Of either half: tokens that it sums over. */
  readonly tokens: readonly [number, number];
}

const scratch = new ScratchFloats();

/**
 * What the input x of a linear W that ends a residual branch knows of what has gone wrong so far: Σ e xᵀ, e what the original model has
 * behind the linear less what h + W x has. Sums are float32 within a sequence (native kernels: within 512 tokens), float64 beyond; with
 * bfloat16 factors e is rounded too. Sequences with anything in them that is not finite, or whose squares overflow, are left out.
 */
export class MismatchSum {
  readonly #sums: readonly [Float64Array, Float64Array];
  readonly #native: NativeAddon | null;
  readonly #gram: Gram | Float64Array | null;
  readonly #weight: Float32Array;
  readonly #bias: Float32Array | null;
  readonly #counts: [number, number] = [0, 0];
  #seen = 0;

  /** @throws QuantloomError InvalidModel when the weight or the bias is missing or has another shape. */
  constructor(private readonly options: MismatchSumOptions) {
    const { linear, weights, kernels, gram, memory, executionProviders } = options;
    const { name, rows, columns, bias } = linear;
    const half = () => zeroSums(rows * columns, memory?.stage ?? ownMemory);
    this.#sums = [half(), half()];
    this.#native = isCpu(executionProviders) ? selectKernels(kernels).native : null;
    this.#gram = gram ? this.#emptyGram() : null;
    this.#weight = weightFeed(weights, `${name}.weight`, [rows, columns]).data as Float32Array;
    this.#bias = bias ? (weightFeed(weights, `${name}.bias`, [rows]).data as Float32Array) : null;
  }

  async add(batch: MismatchBatch): Promise<void> {
    const { linear, sequenceLength } = this.options;
    const { rows, columns } = linear;
    const sequences = batch.original.length / (sequenceLength * rows);
    const tokens = sequences * sequenceLength;
    const x = activationFloats('input', this.#asStored(batch.input.subarray(0, tokens * columns)), scratch);
    const errors = await this.#errors({ ...batch, hidden: batch.hidden.subarray(0, tokens * rows), input: x }, tokens);
    const errorsOf = (sequence: number) => rowsOfSequence(errors, sequence, sequenceLength * rows);
    const inputOf = (sequence: number) => rowsOfSequence(x, sequence, sequenceLength * columns);
    for (let i = 0; i < sequences; i++) {
      const half = (this.#seen % 2) as 0 | 1;
      this.#seen += 1;
      if (!hasFiniteSquares(errorsOf(i)) || !hasFiniteSquares(inputOf(i))) continue;
      await this.#addProduct(this.#sums[half], errorsOf(i), inputOf(i), batch.threads);
      await this.#addGram(inputOf(i), batch.threads);
      this.#counts[half] += 1;
    }
  }

  total(): SummedMismatch {
    const { sequenceLength } = this.options;
    const [even, odd] = this.#sums;
    const sum = new Float32Array(even.length + odd.length);
    sum.set(even);
    sum.set(odd, even.length);
    const gram = this.#gram instanceof Float64Array ? Float32Array.from(this.#gram) : this.#gram?.matrix();
    const tokens = [this.#counts[0] * sequenceLength, this.#counts[1] * sequenceLength] as const;
    return { sum, gram: gram ?? null, tokens };
  }

  #emptyGram(): Gram | Float64Array {
    const { linear, precision = 'float32', memory } = this.options;
    const { columns } = linear;
    const take = memory?.stage ?? ownMemory;
    return this.#native
      ? createGram({ columns, precision, native: this.#native, take })
      : new Float64Array(columns ** 2);
  }

  /** e, `[tokens, rows]`. */
  async #errors({ hidden, original, input, threads }: MismatchBatch, tokens: number): Promise<Float32Array> {
    const right = activationFloats('original', original, scratch);
    const added = activationFloats('hidden', hidden, scratch);
    const errors = await this.#output(input as Float32Array, tokens, threads);
    for (let i = 0; i < errors.length; i++) {
      errors[i] = (right[i] as number) - ((added[i] as number) + (errors[i] as number));
    }
    return errors;
  }

  /** W x and the bias, `[tokens, rows]`, with factors rounded as in the forward pass. */
  async #output(x: Float32Array, tokens: number, threads: number): Promise<Float32Array> {
    const { rows, columns } = this.options.linear;
    const y = scratch.of('output', tokens * rows);
    const rounded = this.options.precision === 'bfloat16';
    if (this.#native && rounded) {
      const packed = packedWeight(this.#native, this.#weight, rows, columns, this.options.memory?.weights);
      this.#native.multiplyLinears(x, columns, [{ rows, packed, bias: this.#bias, y }], threads);
      return y;
    }
    const session = await sessionFor(`output ${rows} ${columns}`, this.options, () => outputGraph(rows, columns));
    const feeds = {
      x: floatFeed(unsharedFloats('input', x, scratch), [tokens, columns]),
      weight: floatFeed(rounded ? roundedToBfloat16(this.#weight, 'rounded weight') : this.#weight, [rows, columns]),
      bias: floatFeed(this.#bias ?? new Float32Array(rows), [rows]),
    };
    await session.run(feeds, { y: floatFeed(y, [tokens, rows]) });
    return y;
  }

  /** Whoever hands it over, x is what is kept between stages. */
  #asStored(input: StoredActivation): StoredActivation {
    const { input: name, precision = 'float32' } = this.options;
    const rounded = input instanceof Float32Array && activationDtype(name, precision) === 'BF16';
    return rounded ? encodeBfloat16(input) : input;
  }

  /** Of one sequence. */
  async #addProduct(sums: Float64Array, errors: Float32Array, x: Float32Array, threads: number): Promise<void> {
    const { rows, columns } = this.options.linear;
    const rounded = this.options.precision === 'bfloat16';
    if (this.#native) this.#native.addProduct(sums, errors, rows, x, columns, rounded, threads);
    else await this.#addGraphProduct(sums, rounded ? roundedToBfloat16(errors, 'rounded errors') : errors, x);
  }

  /** Of one sequence. */
  async #addGram(x: Float32Array, threads: number): Promise<void> {
    if (this.#gram instanceof Float64Array) await this.#addGraphProduct(this.#gram, x, x);
    else this.#gram?.add(x, threads);
  }

  /** leftᵀ x of one sequence. */
  async #addGraphProduct(sums: Float64Array, left: Float32Array, x: Float32Array): Promise<void> {
    const { linear, sequenceLength: tokens } = this.options;
    const [rows, { columns }] = [left.length / tokens, linear];
    const session = await sessionFor(`product ${rows} ${columns}`, this.options, () => productGraph(rows, columns));
    const part = scratch.of('part', rows * columns);
    const feeds = {
      left: floatFeed(unsharedFloats('left', left, scratch), [tokens, rows]),
      x: floatFeed(unsharedFloats('input', x, scratch), [tokens, columns]),
    };
    await session.run(feeds, { product: floatFeed(part, [rows, columns]) });
    for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (part[i] as number);
  }
}

/** `x weightᵀ + bias`. */
function outputGraph(rows: number, columns: number): Uint8Array {
  const graph = new GraphBuilder('output');
  const x = graph.input('x', ['tokens', columns]);
  const weight = graph.input('weight', [rows, columns]);
  const bias = graph.input('bias', [rows]);
  graph.output('y', graph.node('Gemm', [x, weight, bias], { transB: 1n }), ['tokens', rows]);
  return graph.build();
}

/** `leftᵀ x`. */
function productGraph(rows: number, columns: number): Uint8Array {
  const graph = new GraphBuilder('product');
  const left = graph.input('left', ['tokens', rows]);
  const x = graph.input('x', ['tokens', columns]);
  graph.output('product', graph.node('Gemm', [left, x], { transA: 1n }), [rows, columns]);
  return graph.build();
}

function roundedToBfloat16(values: Float32Array, name: string): Float32Array {
  return decodeBfloat16(encodeBfloat16(values), scratch.of(name, values.length));
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
