import { createGram, type GramOptions, type GramPrecision } from '../kernels';
import { GraphBuilder } from './graph-builder';
import { type SessionOptions, sessionFor } from './session-pool';
import { type Feeds, floatFeed } from './stage-feeds';

interface ColumnRange {
  readonly first: number;
  readonly end: number;
}

/** Below this width MLAS loses more to small products than symmetry saves. */
const MIN_BLOCK_COLUMNS = 128;
const MAX_BLOCKS = 6;

/** XᵀX is symmetric: only the row blocks of its upper triangle are computed, at most 7/12 of the work. */
function rowBlocks(columns: number): readonly ColumnRange[] {
  const width = Math.max(MIN_BLOCK_COLUMNS, Math.ceil(columns / MAX_BLOCKS));
  const count = Math.ceil(columns / width);
  return Array.from({ length: count }, (_, i) => ({ first: i * width, end: Math.min(columns, (i + 1) * width) }));
}

function outputName(block: number): string {
  return `gram_${block}`;
}

/**
 * Adds the outputs `gram_i` `[rows of block i, columns - first]` of XᵀX to a graph; `x` is `[tokens, columns]`. For `bfloat16` the
 * factors are rounded first, as the native kernel does; products are added in float32 either way.
 */
export function appendGram(graph: GraphBuilder, x: string, columns: number, precision: GramPrecision): void {
  const factor = precision === 'float32' ? x : graph.rounded(x);
  const cut = (first: number, end: number) =>
    first === 0 && end === columns
      ? factor
      : graph.node('Slice', [factor, graph.integers([first]), graph.integers([end]), graph.integers([1])]);
  rowBlocks(columns).forEach(({ first, end }, i) => {
    const product = graph.node('Gemm', [cut(first, end), cut(first, columns)], { transA: 1n });
    graph.output(outputName(i), product, [end - first, columns - first]);
  });
}

/** XᵀX, summed over batches in the order they are added. */
export interface GramSum {
  /** What a run of the graph has to write for it. */
  fetches(): Feeds;
  /** Adds the last run. `captured` `[tokens, columns]`: of the sequences that count; null where the graph multiplies. */
  add(captured: Float32Array | null, threads: number): void | Promise<void>;
  /** @returns the whole symmetric matrix `[columns, columns]`. */
  matrix(): Float32Array;
}

/** The products are part of the graph; here its blocks are added in float64. */
export class GraphGramSum implements GramSum {
  readonly #blocks: readonly { range: ColumnRange; part: Float32Array; sum: Float64Array }[];

  constructor(private readonly columns: number) {
    this.#blocks = rowBlocks(columns).map((range) => {
      const length = (range.end - range.first) * (columns - range.first);
      return { range, part: new Float32Array(length), sum: new Float64Array(length) };
    });
  }

  fetches(): Feeds {
    const feeds = this.#blocks.map(({ range, part }, i) => [
      outputName(i),
      floatFeed(part, [range.end - range.first, this.columns - range.first]),
    ]);
    return Object.fromEntries(feeds);
  }

  add(): void {
    for (const { part, sum } of this.#blocks) {
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (part[i] as number);
    }
  }

  matrix(): Float32Array {
    const { columns } = this;
    const matrix = new Float32Array(columns * columns);
    for (const { range, sum } of this.#blocks) {
      const width = columns - range.first;
      for (let row = range.first; row < range.end; row++) {
        for (let column = row; column < columns; column++) {
          const value = sum[(row - range.first) * width + column - range.first] as number;
          matrix[row * columns + column] = value;
          matrix[column * columns + row] = value;
        }
      }
    }
    return matrix;
  }
}

/** The kernel multiplies what the graph captured: exactly half of the products. */
export function capturedGramSum(options: GramOptions): GramSum {
  const gram = createGram(options);
  return {
    fetches: () => ({}),
    add: (captured, threads) => gram.add(captured as Float32Array, threads),
    matrix: () => gram.matrix(),
  };
}

/** XᵀX of rows that are given, in a graph of its own: where no kernel multiplies, and a stage captures several inputs. */
export class SessionGramSum implements GramSum {
  readonly #sum: GraphGramSum;

  constructor(private readonly options: SessionOptions & Required<Pick<GramOptions, 'columns' | 'precision'>>) {
    this.#sum = new GraphGramSum(options.columns);
  }

  fetches(): Feeds {
    return {};
  }

  async add(captured: Float32Array | null): Promise<void> {
    const { columns, precision } = this.options;
    const session = await sessionFor(`gram ${columns} ${precision}`, this.options, () => {
      const graph = new GraphBuilder('gram');
      appendGram(graph, graph.input('x', ['tokens', columns]), columns, precision);
      return graph.build();
    });
    const x = captured as Float32Array;
    await session.run({ x: floatFeed(x, [x.length / columns, columns]) }, this.#sum.fetches());
    this.#sum.add();
  }

  matrix(): Float32Array {
    return this.#sum.matrix();
  }
}
