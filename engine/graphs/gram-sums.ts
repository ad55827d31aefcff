import { ownMemory } from '../memory';
import { capturedInputs, stackHeader, stackLength } from '../models';
import { capturedFeatures, rowsOfInput } from './captured-rows';
import { capturedGramSum, type GramSum, GraphGramSum, SessionGramSum } from './gram';
import { productKernels } from './product-kernels';
import { ScratchFloats } from './scratch-floats';
import { rowsOf } from './stage-feeds';
import type { StageBatch, StageStreamOptions } from './stage-stream';

/** XᵀX of every input that a stage captures. */
export interface GramSums {
  /** The sum that the stage's own graph multiplies; null: it captures what is multiplied here. */
  readonly inGraph: GramSum | null;
  /**
   * Adds a batch of which these sequences count.
   *
   * @param captured `[tokens, features]`; null where the graph multiplies.
   */
  add(batch: StageBatch, captured: Float32Array | null, sequences: readonly number[]): Promise<void>;
  /** The matrix of the one input, or a stack (matrix-stack.ts). */
  total(): Float32Array;
}

const scratch = new ScratchFloats();

export function createGramSums(options: StageStreamOptions): GramSums {
  const { stage, shape, precision = 'float32', threads, sequenceLength, memory } = options;
  const native = productKernels(options);
  const inputs = capturedInputs(stage);
  const features = capturedFeatures(stage, shape);
  const take = memory?.stage ?? ownMemory;
  const [first] = inputs;
  if (inputs.length === 1 && first) {
    const { columns } = first;
    // What is looked at for its magnitudes has left the graph.
    const apart = options.magnitudes ? new SessionGramSum({ ...options, columns, precision }) : null;
    const inGraph = native || apart ? null : new GraphGramSum(columns);
    const sum = native
      ? capturedGramSum({ columns, precision, threads, native, take })
      : (apart ?? (inGraph as GramSum));
    return {
      inGraph,
      async add(batch, captured, sequences) {
        const rows = captured && rowsOf(captured, sequences, sequenceLength * columns);
        await sum.add(rows, batch.threads ?? threads);
      },
      total: () => sum.matrix(),
    };
  }
  const sums = inputs.map(({ columns }) => ({
    tokens: 0,
    sum: native
      ? capturedGramSum({ columns, precision, threads, native, take })
      : new SessionGramSum({ ...options, columns, precision }),
  }));
  return {
    inGraph: null,
    async add(batch, captured, sequences) {
      const tokens = sequences.flatMap((sequence) =>
        Array.from({ length: sequenceLength }, (_, i) => sequence * sequenceLength + i),
      );
      const routing = (batch.outputs.routing ?? batch.inputs.routing) as Float32Array;
      const perToken = shape.experts?.perToken as number;
      const given = { captured: captured as Float32Array, features, perToken, tokens };
      for (const [i, input] of inputs.entries()) {
        const { columns } = input;
        const rows = rowsOfInput(input, { ...given, routing: stage.allExperts ? null : routing }, scratch);
        const one = sums[i] as (typeof sums)[number];
        one.tokens += rows.length / columns;
        if (rows.length > 0) await one.sum.add(rows, batch.threads ?? threads);
      }
    },
    total() {
      const total = new Float32Array(stackLength(inputs));
      const header = stackHeader(inputs.map(({ columns }, i) => ({ columns, tokens: sums[i]?.tokens ?? 0 })));
      total.set(header);
      let end = header.length;
      for (const { sum } of sums) {
        const matrix = sum.matrix();
        total.set(matrix, end);
        end += matrix.length;
      }
      return total;
    },
  };
}
