import { stackHeader } from '../models';
import { matricesOfStack, mergeStacks, type ReadFloats } from './merge-stacks';

function stack(inputs: readonly { columns: number; tokens: number; matrix: readonly number[] }[]): Float32Array {
  return Float32Array.from([...stackHeader(inputs), ...inputs.flatMap(({ matrix }) => matrix)]);
}

function readerOf(values: Float32Array): ReadFloats {
  let end = 0;
  return async (floats) => {
    end += floats;
    if (end > values.length) throw new RangeError('read beyond the end');
    return values.subarray(end - floats, end);
  };
}

async function merged(slices: readonly Float32Array[]) {
  const written: number[] = [];
  const write = async (floats: Float32Array) => {
    written.push(...floats);
  };
  await mergeStacks(slices.map(readerOf), write, {});
  const matrices = [];
  for await (const { columns, tokens, matrix } of matricesOfStack(readerOf(Float32Array.from(written)))) {
    matrices.push({ columns, tokens, matrix: [...matrix] });
  }
  return matrices;
}

describe('stacks of sums', () => {
  it('are merged input by input: the mean over the tokens that came to each', async () => {
    const slices = [
      stack([
        { columns: 2, tokens: 3, matrix: [3, 1, 1, 6] },
        { columns: 1, tokens: 1, matrix: [5] },
      ]),
      stack([
        { columns: 2, tokens: 1, matrix: [1, 3, 3, 2] },
        { columns: 1, tokens: 4, matrix: [10] },
      ]),
    ];
    expect(await merged(slices)).toEqual([
      { columns: 2, tokens: 4, matrix: [1, 1, 1, 2] },
      { columns: 1, tokens: 5, matrix: [3] },
    ]);
  });

  it('have a Hessian of zeros where no token came', async () => {
    const empty = { columns: 2, tokens: 0, matrix: [0, 0, 0, 0] };
    const other = { columns: 1, tokens: 2, matrix: [4] };
    expect(await merged([stack([empty, other]), stack([empty, other])])).toEqual([
      empty,
      { columns: 1, tokens: 4, matrix: [2] },
    ]);
  });

  it('of inputs that differ are refused', async () => {
    const one = stack([{ columns: 1, tokens: 1, matrix: [1] }]);
    const two = stack([{ columns: 2, tokens: 1, matrix: [1, 0, 0, 1] }]);
    await expect(merged([two, one])).rejects.toThrow();
  });
});
