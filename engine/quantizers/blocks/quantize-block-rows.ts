import type { BlockCodes, BlockType } from '../../checkpoints/gguf/blocks/block-type';
import { BLOCK_TYPES } from '../../checkpoints/gguf/blocks/block-types';
import { decodeBlocks, encodeBlocks } from '../../checkpoints/gguf/blocks/encode-blocks';
import type { GridKernels, KernelChoice } from '../../kernels';
import type { QuantizedBlockType } from '../../spec';
import { type GridHessian, type GridRows, type GridRowsTask, liveDifference } from '../on-grid/grid-rows';
import { gridOfBlocks, packCodes } from './grid-of-blocks';

/** Some rows that become blocks. Plain data, since it crosses threads. */
export interface BlockRowsTask extends GridRowsTask {
  readonly blockType: QuantizedBlockType;
  /** What solves; the search is in TypeScript always. Default: `typescript`. */
  readonly kernels?: KernelChoice;
}

export interface BlockRows extends GridRows {
  /** `[rows, bytes of a row]` */
  readonly blocks: Uint8Array;
}

/**
 * Blocks of some rows. Scales and minimums are those of the search under weighted squared error. With a factorized Hessian the codes are then
 * GPTQ's on that grid, improved by coordinate descent; a row on which that is no better than the search keeps what the search found.
 *
 * @throws QuantloomError NonFiniteWeights for a weight that the type cannot hold.
 */
export function quantizeBlockRows(kernels: GridKernels, task: BlockRowsTask): BlockRows {
  const { blockType, weight: values, columns, rows, importance, hessian, name } = task;
  const type = BLOCK_TYPES[blockType];
  const found = encodeBlocks({ type, values, columns, importance, name });
  if (!hessian) return { blocks: found, outputs: null };
  const energyOf = (blocks: Uint8Array | null) =>
    kernels.outputEnergy(
      liveDifference(task, hessian, blocks && decodeBlocks(type, blocks)),
      hessian.values,
      rows,
      columns,
    );
  const energies = energyOf(null);
  const searched = energyOf(found);
  const { compensation } = hessian;
  if (!compensation || !type.codes) {
    return { blocks: found, outputs: { errorsBefore: searched, errors: searched, energies } };
  }
  const solved = solveOnGrid(kernels, task, type, type.codes, found, hessian.values, compensation);
  const errorsBefore = energyOf(solved.compensated);
  const errors = energyOf(solved.blocks);
  const rowBytes = found.length / rows;
  for (let row = 0; row < rows; row++) {
    if ((errors[row] as number) <= (searched[row] as number)) continue;
    errors[row] = searched[row] as number;
    solved.blocks.set(found.subarray(row * rowBytes, (row + 1) * rowBytes), row * rowBytes);
  }
  return { blocks: solved.blocks, outputs: { errorsBefore, errors, energies } };
}

/** The blocks with GPTQ's codes, and with these improved. */
function solveOnGrid(
  kernels: GridKernels,
  { weight, rows, columns }: BlockRowsTask,
  type: BlockType,
  blockCodes: BlockCodes,
  found: Uint8Array,
  hessian: Float64Array,
  { factor, solveOrder, rounds }: NonNullable<GridHessian['compensation']>,
): { readonly compensated: Uint8Array; readonly blocks: Uint8Array } {
  const grid = {
    groupSize: blockCodes.groupSize,
    levels: Float64Array.from(blockCodes.levels),
    ...gridOfBlocks(type, blockCodes, found),
  };
  const problem = { weights: Float64Array.from(weight), rows, columns, grid, codes: new Uint8Array(rows * columns) };
  kernels.gptqOnGrid({ ...problem, factor, solveOrder });
  const withCodes = () => {
    const blocks = found.slice();
    packCodes(type, blockCodes, problem.codes, blocks);
    return blocks;
  };
  const compensated = withCodes();
  kernels.descendOnGrid({ ...problem, hessian, rounds });
  return { compensated, blocks: withCodes() };
}
