import type { NativeAddon } from '../kernels';
import {
  architectureNamed,
  type LinearRole,
  linearKey,
  type ModelShape,
  type NormKind,
  type RotaryScaling,
} from '../models';
import { attentionOf } from './attention-of';
import { capturedFeatures } from './captured-rows';
import type { DecoderOperators, ExpertProducts } from './decoder-operators';
import { NativeExperts } from './native-experts';
import { routeTokens } from './native-routing';
import { packedWeight } from './packed-weights';
import { type RotaryTable, rotaryPairs, rotaryTable } from './rotary-table';
import { ScratchArena } from './scratch-arena';
import { stageBody } from './stage-bodies';
import { linearFeeds, parameterFeeds } from './stage-feeds';
import type { ForwardBatch, StageForward } from './stage-forward';
import type { StageStreamOptions } from './stage-stream';
import { activationFloats, storeActivation } from './stored-activation';

/**
 * A stage computed by native kernels, operator by operator: linears with factors rounded to bfloat16, the rest in float32.
 *
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape; UnsupportedArchitecture.
 */
export function nativeForward(options: StageStreamOptions, native: NativeAddon): StageForward {
  const { stage, gram, magnitudes } = options;
  const body = stageBody(options.architecture, stage.name);
  const decoder = new NativeDecoder(options, native);
  const columns = capturedFeatures(stage, options.shape);
  return {
    async run(batch) {
      decoder.show(batch);
      const { captured, changes } = body(decoder);
      for (const name of stage.changes) {
        storeActivation(changes[name] as Float32Array, batch.outputs[name] as Float32Array);
      }
      return {
        energy: native.rowEnergies(captured, columns, batch.threads),
        captured: gram || magnitudes ? captured : null,
      };
    },
  };
}

interface NativeLinear {
  readonly rows: number;
  readonly columns: number;
  readonly packed: Uint32Array;
  readonly bias: Float32Array | null;
}

/** Results are in scratch memory: those of the tensor thread, the same for all stages. */
let sharedScratch: ScratchArena | undefined;
const rotaryTables = new Map<string, RotaryTable>();

class NativeDecoder implements DecoderOperators<Float32Array> {
  readonly sequenceLength: number;
  readonly #linears: ReadonlyMap<string, NativeLinear>;
  readonly #parameters: ReadonlyMap<string, Float32Array>;
  readonly #norm: NormKind;
  readonly #scratch: ScratchArena;
  #batch: ForwardBatch | null = null;

  constructor(
    private readonly options: StageStreamOptions,
    private readonly native: NativeAddon,
  ) {
    const { stage, weights, shape } = options;
    sharedScratch ??= new ScratchArena(native);
    this.#scratch = sharedScratch;
    this.sequenceLength = options.sequenceLength;
    const checked = linearFeeds(stage.applies, weights);
    this.#linears = new Map(
      stage.applies.flatMap((linear) => {
        const { name, role, expert, rows, columns, bias } = linear;
        const weight = weights.get(`${name}.weight`)?.data as Float32Array;
        const added = bias ? (checked[`${linearKey(linear)}.bias`]?.data as Float32Array) : null;
        return partsOf(role, rows, shape).map(([part, first, count]) => {
          const whole = count === rows;
          const own = whole ? weight : weight.subarray(first * columns, (first + count) * columns);
          const take = whole ? options.memory?.weights : options.memory?.stage;
          const packed = packedWeight(native, own, count, columns, take);
          const partBias = added?.subarray(first, first + count) ?? null;
          return [linearKey({ role: part, expert }), { rows: count, columns, packed, bias: partBias }] as const;
        });
      }),
    );
    const parameters = Object.entries(parameterFeeds(stage, weights, shape));
    this.#parameters = new Map(parameters.map(([role, { data }]) => [role, data as Float32Array]));
    this.#norm = architectureNamed(options.architecture).norm;
  }

  /** The batch that operators are applied to from now on. */
  show(batch: ForwardBatch): void {
    this.#batch = batch;
    this.#scratch.restart();
  }

  applies(role: LinearRole, expert?: number): boolean {
    return this.#linears.has(linearKey({ role, expert }));
  }

  activation(name: string): Float32Array {
    return activationFloats(name, (this.#batch as ForwardBatch).inputs[name] as Float32Array, this.#scratch);
  }

  linear(role: LinearRole, x: Float32Array): Float32Array {
    return this.#multiply([role], x)[0] as Float32Array;
  }

  norm(x: Float32Array): Float32Array {
    if (this.#norm === 'rms-norm') return this.#rootMeanSquareNorm('norm', x);
    const y = this.#scratch.of('norm', x.length);
    const weight = this.#parameters.get('norm') as Float32Array;
    const bias = this.#parameters.get('norm.bias') as Float32Array;
    this.native.layerNorm(x, weight, bias, this.options.shape.normEpsilon, y, this.#threads);
    return y;
  }

  branchNorm(x: Float32Array): Float32Array {
    return this.#rootMeanSquareNorm('branch-norm', x);
  }

  add(a: Float32Array, b: Float32Array): Float32Array {
    const sum = this.#scratch.of('sum', a.length);
    this.native.add(a, b, sum, this.#threads);
    return sum;
  }

  gatedProduct(x: Float32Array, activation: 'silu' | 'gelu-tanh'): Float32Array {
    const [gate, up] = this.#multiply(['gate', 'up'], x) as [Float32Array, Float32Array];
    if (activation === 'silu') this.native.gatedSilu(gate, up, this.#threads);
    else this.native.gatedGeluTanh(gate, up, this.#threads);
    return gate;
  }

  gelu(x: Float32Array): Float32Array {
    this.native.geluTanh(x, this.#threads);
    return x;
  }

  /** No kernel: next to the product before it, it takes no time. */
  relu(x: Float32Array): Float32Array {
    for (let i = 0; i < x.length; i++) if ((x[i] as number) < 0) x[i] = 0;
    return x;
  }

  selfAttention(x: Float32Array): Float32Array {
    const { heads, keyValueHeads, headSize, scoreScale: scale, scoreCap: cap } = this.options.shape;
    const { sequenceLength } = this;
    const { window } = attentionOf(this.options.stage, this.options.shape);
    const [q, k, value] = this.#multiply(['q', 'k', 'v'], x) as [Float32Array, Float32Array, Float32Array];
    const query = this.#rootMeanSquareNorm('q-norm', q);
    const key = this.#rootMeanSquareNorm('k-norm', k);
    this.#rotate(query, heads);
    this.#rotate(key, keyValueHeads);
    const context = this.#scratch.of('context', query.length);
    this.native.causalAttention(query, key, value, context, {
      sequenceLength,
      heads,
      keyValueHeads,
      headSize,
      ...(window !== null && { window }),
      ...(scale !== undefined && { scale }),
      ...(cap !== undefined && { cap }),
      threads: this.#threads,
    });
    return context;
  }

  route(x: Float32Array): Float32Array {
    const [router, shared] = ['router', 'shared-router'].map((role) => this.#parameters.get(role) ?? null);
    return routeTokens(x, { router: router as Float32Array, shared: shared ?? null }, this.options.shape, {
      native: this.native,
      threads: this.#threads,
      scratch: this.#scratch,
    });
  }

  expertProducts(x: Float32Array, routing: Float32Array): ExpertProducts<Float32Array> {
    return this.#experts.products(x, routing, this.options.stage.allExperts === true);
  }

  expertSum(products: Float32Array, routing: Float32Array): Float32Array {
    return this.#experts.sum(products, routing);
  }

  get #experts(): NativeExperts {
    return new NativeExperts(this.options.shape, this.#scratch, {
      products: (rows, expert) => {
        const [gate, up] = this.#multiply(['gate', 'up'], rows, expert) as [Float32Array, Float32Array];
        this.native.gatedSilu(gate, up, this.#threads);
        return gate;
      },
      outputs: (rows, expert) => this.#multiply(['down'], rows, expert)[0] as Float32Array,
    });
  }

  get #threads(): number {
    return (this.#batch as ForwardBatch).threads;
  }

  /** Linears that share x, which is rounded once. */
  #multiply(roles: readonly LinearRole[], x: Float32Array, expert?: number): Float32Array[] {
    const linears = roles.map((role) => this.#linears.get(linearKey({ role, expert })) as NativeLinear);
    const columns = (linears[0] as NativeLinear).columns;
    const tokens = x.length / columns;
    const products = linears.map(({ rows, packed, bias }, i) => {
      return { rows, packed, bias, y: this.#scratch.of(roles[i] as string, tokens * rows) };
    });
    this.native.multiplyLinears(x, columns, products, this.#threads);
    return products.map(({ y }) => y);
  }

  /** Of rows as long as the norm's gain, where the stage has such a norm. */
  #rootMeanSquareNorm(role: string, x: Float32Array): Float32Array {
    const weight = this.#parameters.get(role);
    if (!weight) return x;
    const y = this.#scratch.of(role, x.length);
    this.native.rmsNorm(x, weight, this.options.shape.normEpsilon, y, this.#threads);
    return y;
  }

  /** In place, where positions are rotary. */
  #rotate(x: Float32Array, heads: number): void {
    const { headSize } = this.options.shape;
    const { rotary } = attentionOf(this.options.stage, this.options.shape);
    if (rotary === null) return;
    const { sequenceLength } = this;
    const rotated = 2 * rotaryPairs(rotary, headSize);
    this.native.rotate(x, { ...this.#rotaryTable(rotary), sequenceLength, heads, headSize, rotated }, this.#threads);
  }

  #rotaryTable(rotary: RotaryScaling): RotaryTable {
    const { headSize } = this.options.shape;
    const key = JSON.stringify([rotary, headSize, this.sequenceLength]);
    const table = rotaryTables.get(key) ?? rotaryTable(rotary, headSize, this.sequenceLength);
    rotaryTables.set(key, table);
    return table;
  }
}

/** The linears that a weight is, with their rows: q, k and v where they are one matrix, gate and up. */
function partsOf(
  role: LinearRole,
  rows: number,
  { heads, keyValueHeads, headSize, intermediateSize }: ModelShape,
): readonly (readonly [part: LinearRole, first: number, rows: number])[] {
  if (role === 'gate-up') {
    return [
      ['gate', 0, intermediateSize],
      ['up', intermediateSize, intermediateSize],
    ];
  }
  if (role !== 'qkv') return [[role, 0, rows]];
  const [queries, keys] = [heads * headSize, keyValueHeads * headSize];
  return [
    ['q', 0, queries],
    ['k', queries, keys],
    ['v', queries + keys, keys],
  ];
}
