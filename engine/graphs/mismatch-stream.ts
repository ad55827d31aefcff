import { type KernelChoice, type NativeAddon, selectKernels } from '../kernels';
import { GraphBuilder } from './graph-builder';
import { ScratchFloats } from './scratch-floats';
import { type SessionOptions, sessionFor } from './session-pool';
import { floatFeed } from './stage-feeds';
import type { StageStream } from './stage-stream';
import { activationFloats } from './stored-activation';

/** A linear that ends a residual branch, for {@link createMismatchStream}. */
export interface MismatchStreamOptions extends SessionOptions {
  /** Output features: the size of the hidden state. */
  readonly rows: number;
  /** Input features. */
  readonly columns: number;
  /** Tokens per sequence. */
  readonly sequenceLength: number;
  /** `[rows]`: the linear's own; null: none. */
  readonly bias: Float32Array | null;
  /** Who multiplies. Default: what the process prefers. */
  readonly kernels?: KernelChoice;
}

/** What a batch holds, `[sequences · sequenceLength, features]`. */
export const MISMATCH_INPUTS = {
  /** h: what the linear's output is added to, behind quantized layers. */
  hidden: 'hidden',
  /** h₀ + W x₀ + bias: what the original model has behind it. */
  original: 'original',
  /** x: the linear's input, behind quantized layers. */
  captured: 'captured',
} as const;

const BATCH_TOKENS = 1024;

/** Sequences that are added at once: part of the result, since sums are float32 within. */
export function mismatchBatchSequences(sequenceLength: number): number {
  return Math.max(1, Math.floor(BATCH_TOKENS / sequenceLength));
}

const scratch = new ScratchFloats();

/**
 * Sums (h₀ + W x₀ - h) xᵀ of a slice, batch by batch: `gram` of what it finishes with is that sum, `[rows, columns]`. Sequences with anything
 * in them that is not finite, or whose squares overflow, are left out.
 */
export function createMismatchStream(options: MismatchStreamOptions): StageStream {
  const { rows, columns, sequenceLength, bias, kernels } = options;
  const { native } = selectKernels(kernels);
  const sums = new Float64Array(rows * columns);
  let [sequences, finiteSequences, seconds] = [0, 0, 0];

  return {
    async run({ sequences: count, inputs }) {
      const began = performance.now();
      const { hidden, original, captured } = Object.fromEntries(
        Object.entries(inputs).map(([name, stored]) => [name, activationFloats(name, stored, scratch)]),
      ) as Record<keyof typeof MISMATCH_INPUTS, Float32Array>;
      const missing = scratch.of('missing', count * sequenceLength * rows);
      for (let i = 0; i < missing.length; i++) missing[i] = (original[i] as number) - (hidden[i] as number);
      if (bias)
        for (let i = 0; i < missing.length; i++) missing[i] = (missing[i] as number) - (bias[i % rows] as number);
      const sequence = (array: Float32Array, at: number) => {
        const length = array.length / count;
        return array.subarray(at * length, (at + 1) * length);
      };
      const x = captured.subarray(0, count * sequenceLength * columns);
      const finite = Array.from({ length: count }, (_, at) => at).filter(
        (at) => hasFiniteSquares(sequence(missing, at)) && hasFiniteSquares(sequence(x, at)),
      );
      // Those that count move to the front.
      finite.forEach((from, to) => {
        if (from === to) return;
        sequence(missing, to).set(sequence(missing, from));
        sequence(x, to).set(sequence(x, from));
      });
      const tokens = finite.length * sequenceLength;
      if (tokens > 0) await add(sums, missing.subarray(0, tokens * rows), x.subarray(0, tokens * columns), tokens);
      sequences += count;
      finiteSequences += finite.length;
      seconds += (performance.now() - began) / 1000;
    },
    finish: () => ({
      gram: Float32Array.from(sums),
      tokens: finiteSequences * sequenceLength,
      nonFiniteSequences: sequences - finiteSequences,
      gramSeconds: seconds,
    }),
  };

  function add(sums: Float64Array, missing: Float32Array, x: Float32Array, tokens: number): Promise<void> {
    return native ? addNatively(native, missing, x) : addByGraph(sums, missing, x, tokens);
  }

  async function addNatively(addon: NativeAddon, missing: Float32Array, x: Float32Array): Promise<void> {
    addon.addProduct(sums, missing, rows, x, columns, options.threads);
  }

  async function addByGraph(sums: Float64Array, missing: Float32Array, x: Float32Array, tokens: number): Promise<void> {
    const key = `mismatch ${rows} ${columns}`;
    const session = await sessionFor(key, options, () => productGraph(rows, columns));
    const part = scratch.of('part', rows * columns);
    const feeds = { missing: floatFeed(missing, [tokens, rows]), x: floatFeed(x, [tokens, columns]) };
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

/** Also for a whole sequence, whose squares are added in float64. */
function hasFiniteSquares(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) ** 2;
  return sum < 3.4e38;
}
