/**
 * Matrices of several captured inputs (XᵀX, or Hessians) in one array of float32: how many they are, then by input its columns and its tokens, then the
 * matrices `[columns, columns]` one after the other. Of a single input there is no stack, but its matrix alone.
 */
export interface StackedMatrix {
  readonly columns: number;
  /** Tokens that it sums over. */
  readonly tokens: number;
}

/** Floats before the first matrix. */
function headerLength(count: number): number {
  return 1 + 2 * count;
}

/** Floats of a stack. */
export function stackLength(inputs: readonly Pick<StackedMatrix, 'columns'>[]): number {
  return headerLength(inputs.length) + inputs.reduce((sum, { columns }) => sum + columns ** 2, 0);
}

export function stackHeader(inputs: readonly StackedMatrix[]): Float32Array {
  return Float32Array.from([inputs.length, ...inputs.flatMap(({ columns, tokens }) => [columns, tokens])]);
}

/** @param read gives the next floats of the stack, which it has not been read from yet. */
export async function headerOfStack(read: (floats: number) => Promise<Float32Array>): Promise<StackedMatrix[]> {
  const [count = 0] = await read(1);
  const fields = await read(headerLength(count) - 1);
  return Array.from({ length: count }, (_, i) => ({
    columns: fields[2 * i] as number,
    tokens: fields[2 * i + 1] as number,
  }));
}
