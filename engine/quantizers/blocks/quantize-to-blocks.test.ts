import { join } from 'node:path';
import { BLOCK_TYPES } from '../../checkpoints/gguf/blocks/block-types';
import { decodeBlocks, encodeBlocks } from '../../checkpoints/gguf/blocks/encode-blocks';
import { readSafetensorsHeader, readTensor } from '../../checkpoints/safetensors';
import { decodeFloats } from '../../numbers';
import { packageRoot } from '../../sources';
import { parseQuantizationSpec, QUANTIZED_BLOCK_TYPES, type QuantizedBlockType, type Recipe } from '../../spec';
import type { BlocksLinear } from '../grids/blocks-grid';
import { gridOf } from '../grids/grids';
import { quantizeLinear } from '../quantize-linear';
import { parseQuantizedLinear, serializeQuantizedLinear } from '../serialize-quantized-linear';
import { gridOfBlocks, packCodes } from './grid-of-blocks';

const ROWS = 8;
const COLUMNS = 256;

/** Rows of the demo model. */
async function demoRows(): Promise<Float32Array> {
  const directory = join(packageRoot(), 'assets', 'demo-model');
  const file = 'model.safetensors';
  const name = 'model.layers.1.self_attn.q_proj.weight';
  const { tensors } = await readSafetensorsHeader(join(directory, file), 'InvalidModel');
  const place = tensors.get(name) as Parameters<typeof readTensor>[1];
  return decodeFloats(await readTensor(directory, { ...place, name, file })).slice(0, ROWS * COLUMNS);
}

/** Of inputs with neighbours that are alike, and mean squares that differ by 10⁴. */
const HESSIAN = Float64Array.from({ length: COLUMNS ** 2 }, (_, at) => {
  const [i, j] = [Math.floor(at / COLUMNS), at % COLUMNS];
  const size = (column: number) => 10 ** (((column * 37) % 101) / 50 - 1);
  return size(i) * size(j) * 0.9 ** Math.abs(i - j);
});
const IMPORTANCE = Float32Array.from({ length: COLUMNS }, (_, i) => HESSIAN[i * COLUMNS + i] as number);

const recipe = (fields: Partial<Recipe>): Recipe =>
  parseQuantizationSpec({ model: 'demo', output: 'out', formats: ['gguf'], recipe: { ...fields, mismatch: 0 } }).recipe;

async function solve(weight: Float32Array, fields: Partial<Recipe>, changes: object = {}) {
  const found = await quantizeLinear({
    ...{ weight, rows: ROWS, columns: COLUMNS, hessian: HESSIAN, minimumZero: 0, threads: 0 },
    ...{ recipe: recipe(fields), ...changes },
  });
  return { ...found, linear: found.linear as BlocksLinear };
}

/** tr(ΔW H ΔWᵀ) of what blocks are decoded to. */
function outputError(weight: Float32Array, { blockType, blocks }: BlocksLinear): number {
  const decoded = decodeBlocks(BLOCK_TYPES[blockType], blocks);
  let error = 0;
  for (let row = 0; row < ROWS; row++) {
    const d = Float64Array.from(
      { length: COLUMNS },
      (_, i) => (weight[row * COLUMNS + i] as number) - (decoded[row * COLUMNS + i] as number),
    );
    for (let i = 0; i < COLUMNS; i++) {
      for (let j = 0; j < COLUMNS; j++)
        error += (d[i] as number) * (HESSIAN[i * COLUMNS + j] as number) * (d[j] as number);
    }
  }
  return error;
}

describe.each(QUANTIZED_BLOCK_TYPES)('%s', (blockType: QuantizedBlockType) => {
  const type = BLOCK_TYPES[blockType];

  test('codes that are read off the grid and packed again are the blocks', async () => {
    const values = await demoRows();
    const blocks = encodeBlocks({ type, values, columns: COLUMNS, name: 'demo' });
    const decoded = decodeBlocks(type, blocks);
    const { codes } = type;
    if (!codes) throw new Error('no codes');
    const { scales, offsets } = gridOfBlocks(type, codes, blocks);
    let worst = 0;
    const found = Uint8Array.from(decoded, (value, at) => {
      const group = Math.floor(at / codes.groupSize);
      const distances = Array.from(codes.levels, (level) =>
        Math.abs((scales[group] as number) * level + (offsets[group] as number) - value),
      );
      worst = Math.max(worst, Math.min(...distances));
      return distances.indexOf(Math.min(...distances));
    });
    expect(worst).toBeLessThan(1e-6);
    const packed = blocks.slice();
    packCodes(type, codes, new Uint8Array(found.length), packed);
    packCodes(type, codes, found, packed);
    expect(decodeBlocks(type, packed)).toEqual(decoded);
  });

  test('kquants are the blocks of the search; with GPTQ the error of the outputs is lower', async () => {
    const weight = await demoRows();
    const searched = await solve(weight, { method: 'kquants', blockType });
    expect(searched.linear.blocks).toEqual(
      encodeBlocks({ type, values: weight, columns: COLUMNS, importance: IMPORTANCE, name: '' }),
    );
    const read = await solve(
      weight,
      { method: 'kquants', blockType, importance: 'file' },
      { hessian: null, importance: IMPORTANCE },
    );
    expect(read.linear.blocks).toEqual(searched.linear.blocks);
    expect(read.report).toMatchObject({ relativeError: null, rung: 'not-needed', deadColumns: 0 });
    const plain = await solve(weight, { method: 'kquants', blockType, importance: 'none' }, { hessian: null });
    expect(plain.linear.blocks).toEqual(encodeBlocks({ type, values: weight, columns: COLUMNS, name: '' }));

    const solved = await solve(weight, { method: 'gptq', blockType });
    const [error, least] = [outputError(weight, searched.linear), outputError(weight, solved.linear)];
    expect(least).toBeLessThan(0.8 * error);
    const { relativeError, relativeErrorBeforeRefinement } = solved.report;
    expect((relativeError as number) / (searched.report.relativeError as number)).toBeCloseTo(least / error, 6);
    expect(relativeError as number).toBeLessThanOrEqual(relativeErrorBeforeRefinement as number);
  });
});

test('a Hessian that cannot be factorized leaves the blocks of the search', async () => {
  const weight = await demoRows();
  const indefinite = HESSIAN.map((value, at) => (at === 1 || at === COLUMNS ? 1e9 : value));
  const { linear, report } = await solve(weight, { method: 'gptq', blockType: 'Q4_K' }, { hessian: indefinite });
  expect(report.rung).toBe('round-to-nearest');
  expect(linear.blocks).toEqual((await solve(weight, { method: 'kquants', blockType: 'Q4_K' })).linear.blocks);
});

test('rows do not depend on their number, and the store gives back what was written', async () => {
  const weight = await demoRows();
  const { linear } = await solve(weight, { method: 'gptq', blockType: 'Q3_K' });
  const some = await solve(weight.slice(0, 5 * COLUMNS), { method: 'gptq', blockType: 'Q3_K' }, { rows: 5 });
  expect(linear.blocks.subarray(0, some.linear.blocks.length)).toEqual(some.linear.blocks);
  const read = parseQuantizedLinear(serializeQuantizedLinear(linear));
  expect(read).toEqual(linear);
  const rows = new Float32Array(2 * COLUMNS);
  gridOf(read).open(read)(3, 2, rows);
  expect(rows).toEqual(decodeBlocks(BLOCK_TYPES.Q3_K, linear.blocks).subarray(3 * COLUMNS, 5 * COLUMNS));
});

test('a weight that is not finite is refused by name and place', async () => {
  const weight = await demoRows();
  weight[3 * COLUMNS + 5] = Number.NaN;
  await expect(solve(weight, { method: 'kquants', blockType: 'Q4_K' }, { name: 'm' })).rejects.toThrow(
    'The weight of m is NaN at row 3, column 5.',
  );
});
