import { headerOfStack, type StackedMatrix, stackHeader } from '../models';
import { type MergeOptions, mergeHessians } from './merge-hessians';

/** Gives the next floats of a stack of matrices (engine/models/matrix-stack.ts). They are read before the next call. */
export type ReadFloats = (floats: number) => Promise<Float32Array>;

/**
 * Merges what slices have summed for several inputs, one input after the other: in memory of one of its matrices in float32 and in float64. The Hessian
 * of an input that no token came to is zero.
 *
 * @param parts in slice order.
 * @param write is given the stack of Hessians piece by piece.
 * @throws QuantloomError InvalidCalibration when shapes differ.
 */
export async function mergeStacks(
  parts: readonly ReadFloats[],
  write: (floats: Float32Array) => Promise<void>,
  options: Pick<MergeOptions, 'threads'>,
): Promise<void> {
  const headers: StackedMatrix[][] = [];
  for (const part of parts) headers.push(await headerOfStack(part));
  const tokensOf = (input: number) => headers.reduce((sum, header) => sum + (header[input]?.tokens ?? 0), 0);
  const inputs = (headers[0] ?? []).map(({ columns }, input) => ({ columns, tokens: tokensOf(input) }));
  await write(stackHeader(inputs));
  for (const [input, { columns }] of inputs.entries()) {
    async function* grams() {
      for (const [i, part] of parts.entries()) {
        yield { gram: await part(columns ** 2), tokens: headers[i]?.[input]?.tokens ?? 0 };
      }
    }
    const { hessian } = await mergeHessians(grams(), { ...options, mayBeEmpty: true });
    await write(Float32Array.from(hessian));
  }
}

/** The matrices of a stack, one after the other. */
export async function* matricesOfStack(
  read: ReadFloats,
): AsyncGenerator<StackedMatrix & { readonly matrix: Float32Array }> {
  for (const input of await headerOfStack(read)) yield { ...input, matrix: await read(input.columns ** 2) };
}
