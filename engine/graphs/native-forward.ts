import type { NativeAddon } from '../kernels';
import { linearRole } from './decoder-graph';
import type { DecoderOperators } from './decoder-operators';
import { packedWeight } from './packed-weights';
import { type RotaryTable, rotaryTable } from './rotary-table';
import { ScratchFloats } from './scratch-floats';
import { stageBody } from './stage-bodies';
import { linearFeeds, weightFeed } from './stage-feeds';
import type { ForwardBatch, StageForward } from './stage-forward';
import type { StageStreamOptions } from './stage-stream';
import { activationFloats, storeActivation } from './stored-activation';

/**
 * A stage computed by native kernels, operator by operator: linears with factors rounded to bfloat16, the rest in float32.
 *
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape; UnsupportedArchitecture.
 */
export function nativeForward(options: StageStreamOptions, native: NativeAddon): StageForward {
  const { stage, gram } = options;
  const body = stageBody(options.architecture, stage.name);
  const decoder = new NativeDecoder(options, native);
  const columns = stage.captures[0]?.columns as number;
  return {
    async run(batch) {
      decoder.show(batch);
      const { captured, changes } = body(decoder);
      for (const name of stage.changes) {
        storeActivation(changes[name] as Float32Array, batch.outputs[name] as Float32Array);
      }
      return { energy: native.rowEnergies(captured, columns, batch.threads), captured: gram ? captured : null };
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
const scratch = new ScratchFloats();
const rotaryTables = new Map<string, RotaryTable>();

class NativeDecoder implements DecoderOperators<Float32Array> {
  readonly sequenceLength: number;
  readonly #linears: ReadonlyMap<string, NativeLinear>;
  readonly #norm: Float32Array | null;
  #batch: ForwardBatch | null = null;

  constructor(
    private readonly options: StageStreamOptions,
    private readonly native: NativeAddon,
  ) {
    const { stage, weights, shape } = options;
    this.sequenceLength = options.sequenceLength;
    const checked = linearFeeds(stage.applies, weights);
    this.#linears = new Map(
      stage.applies.map(({ name, rows, columns, bias }) => {
        const weight = weights.get(`${name}.weight`)?.data as Float32Array;
        const packed = packedWeight(native, weight, rows, columns);
        const added = bias ? (checked[`${linearRole(name)}.bias`]?.data as Float32Array) : null;
        return [linearRole(name), { rows, columns, packed, bias: added }];
      }),
    );
    const { norm } = stage.parameters;
    this.#norm = norm ? (weightFeed(weights, norm, [shape.hiddenSize]).data as Float32Array) : null;
  }

  /** The batch that operators are applied to from now on. */
  show(batch: ForwardBatch): void {
    this.#batch = batch;
  }

  applies(role: string): boolean {
    return this.#linears.has(role);
  }

  activation(name: string): Float32Array {
    return activationFloats(name, (this.#batch as ForwardBatch).inputs[name] as Float32Array, scratch);
  }

  linear(role: string, x: Float32Array): Float32Array {
    return this.#multiply([role], x)[0] as Float32Array;
  }

  norm(x: Float32Array): Float32Array {
    const y = scratch.of('normed', x.length);
    this.native.rmsNorm(x, this.#norm as Float32Array, this.options.shape.normEpsilon, y, this.#threads);
    return y;
  }

  add(a: Float32Array, b: Float32Array): Float32Array {
    const sum = scratch.of('sum', a.length);
    this.native.add(a, b, sum, this.#threads);
    return sum;
  }

  gatedProduct(x: Float32Array): Float32Array {
    const [gate, up] = this.#multiply(['gate_proj', 'up_proj'], x) as [Float32Array, Float32Array];
    this.native.gatedSilu(gate, up, this.#threads);
    return gate;
  }

  selfAttention(x: Float32Array): Float32Array {
    const { heads, keyValueHeads, headSize } = this.options.shape;
    const { sequenceLength } = this;
    const [query, key, value] = this.#multiply(['q_proj', 'k_proj', 'v_proj'], x) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const table = this.#rotaryTable();
    this.native.rotate(query, { ...table, sequenceLength, heads, headSize }, this.#threads);
    this.native.rotate(key, { ...table, sequenceLength, heads: keyValueHeads, headSize }, this.#threads);
    const context = scratch.of('context', query.length);
    this.native.causalAttention(query, key, value, context, {
      sequenceLength,
      heads,
      keyValueHeads,
      headSize,
      threads: this.#threads,
    });
    return context;
  }

  get #threads(): number {
    return (this.#batch as ForwardBatch).threads;
  }

  /** Linears that share x, which is rounded once. */
  #multiply(roles: readonly string[], x: Float32Array): Float32Array[] {
    const linears = roles.map((role) => this.#linears.get(role) as NativeLinear);
    const columns = (linears[0] as NativeLinear).columns;
    const tokens = x.length / columns;
    const products = linears.map(({ rows, packed, bias }, i) => {
      return { rows, packed, bias, y: scratch.of(roles[i] as string, tokens * rows) };
    });
    this.native.multiplyLinears(x, columns, products, this.#threads);
    return products.map(({ y }) => y);
  }

  #rotaryTable(): RotaryTable {
    const { rotary, headSize } = this.options.shape;
    const key = JSON.stringify([rotary, headSize, this.sequenceLength]);
    const table = rotaryTables.get(key) ?? rotaryTable(rotary, headSize, this.sequenceLength);
    rotaryTables.set(key, table);
    return table;
  }
}
