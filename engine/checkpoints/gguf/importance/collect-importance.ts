import { basename } from 'node:path';
import { type QuantizationSpec, QuantloomError } from '../../../spec';
import type { ImportanceEntry, ImportanceFile } from './importance-file';
import { importanceName } from './importance-names';

/** What came into the linears that share an input. */
export interface InputImportance {
  /** Module names. */
  readonly linears: readonly string[];
  /** `[columns]`: the mean square of each feature. */
  readonly means: Float32Array;
  readonly tokens: number;
}

/**
 * The entries of an importance matrix: linears that share an input have the same, those of experts are in one entry.
 *
 * @throws QuantloomError UnsupportedArchitecture for a linear that llama.cpp has no name for.
 */
export function collectImportance(inputs: Iterable<InputImportance>): Map<string, ImportanceEntry> {
  const byName = new Map<string, Map<number, Pick<InputImportance, 'means' | 'tokens'>>>();
  for (const { linears, means, tokens } of inputs) {
    for (const module of linears) {
      const { name, expert } = requireImportanceName(module);
      const experts = byName.get(name) ?? new Map();
      byName.set(name, experts.set(expert, { means, tokens }));
    }
  }
  const entries = new Map<string, ImportanceEntry>();
  for (const [name, experts] of byName) {
    const [{ means: first }] = experts.values() as unknown as [InputImportance];
    const columns = first.length;
    const matrices = Math.max(...experts.keys()) + 1;
    const sums = new Float32Array(matrices * columns);
    const counts = new Float32Array(matrices);
    for (const [expert, { means, tokens }] of experts) {
      counts[expert] = tokens;
      sums.set(
        means.map((mean) => sumFor(mean, Math.fround(tokens))),
        expert * columns,
      );
    }
    entries.set(name, { columns, sums, counts });
  }
  return entries;
}

/** @throws QuantloomError UnsupportedArchitecture. */
export function requireImportanceName(module: string): NonNullable<ReturnType<typeof importanceName>> {
  const named = importanceName(module);
  if (named) return named;
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `llama.cpp has no name for ${module}, so there is no importance matrix of this model. Importance can be calibrated where it is used: leave imatrix out.`,
  );
}

/** The diagonal of a Hessian, `[columns, columns]`, which is read row by row. */
export async function readDiagonal(columns: number, read: (floats: number) => Promise<Float32Array>) {
  const diagonal = new Float32Array(columns);
  for (let row = 0; row < columns; row++) diagonal[row] = (await read(columns))[row] as number;
  return diagonal;
}

const bits = new Int32Array(1);
const floats = new Float32Array(bits.buffer);

/** The sum in float32 whose mean, in float32 too, is this one, where there is one: then who reads the file computes with the very same numbers. */
function sumFor(mean: number, tokens: number): number {
  if (tokens === 0) return 0;
  const nearest = Math.fround(mean * tokens);
  for (const step of [0, 1, -1]) {
    floats[0] = nearest;
    bits[0] = (bits[0] as number) + step;
    if (Math.fround((floats[0] as number) / tokens) === mean) return floats[0] as number;
  }
  return nearest;
}

/** What an importance matrix says of its calibration set. */
export function importanceHead({
  source,
  samples,
  sequenceLength,
}: QuantizationSpec['calibration']): Omit<ImportanceFile, 'entries'> {
  return { datasets: [basename(source)], chunks: samples, chunkTokens: sequenceLength };
}
