/** What came into one weight; of experts, whose weights are one tensor, into one after the other. */
export interface ImportanceEntry {
  /** Input features. */
  readonly columns: number;
  /** `[experts or 1, columns]`: sums of the squares of each input feature over the tokens. */
  readonly sums: Float32Array;
  /** `[experts or 1]`: tokens. */
  readonly counts: Float32Array;
}

/** llama.cpp's importance matrix. */
export interface ImportanceFile {
  /** Names of the texts. */
  readonly datasets: readonly string[];
  /** Sequences. */
  readonly chunks: number;
  /** Tokens of a sequence; null: not said (legacy files). */
  readonly chunkTokens: number | null;
  /** By the name of the weight in GGUF, `blk.0.attn_q.weight`. */
  readonly entries: ReadonlyMap<string, ImportanceEntry>;
}

/**
 * The mean square of each input feature in float32, as llama.cpp divides; null where no token came.
 *
 * @param expert which; 0 where there is one matrix.
 */
export function meanSquares({ columns, sums, counts }: ImportanceEntry, expert = 0): Float32Array | null {
  const count = counts[expert] ?? 0;
  if (!(count > 0)) return null;
  return sums.slice(expert * columns, (expert + 1) * columns).map((sum) => sum / count);
}
