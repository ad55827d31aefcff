import type { BlockCodes, BlockType } from '../../checkpoints/gguf/blocks/block-type';
import { BLOCK_TYPES } from '../../checkpoints/gguf/blocks/block-types';
import { decodeBlocks, encodeBlocks } from '../../checkpoints/gguf/blocks/encode-blocks';
import type { GridKernels, KernelChoice } from '../../kernels';
import type { QuantizedBlockType } from '../../spec';
import { gridOfBlocks, packCodes } from './grid-of-blocks';

/** The Hessian of a linear that becomes blocks. In shared memory. */
export interface BlockHessian {
  /** `[columns, columns]`, symmetric; the diagonal of dead columns is made up. */
  readonly values: Float64Array;
  /** `[columns]`: 1 where the input was zero in all of the calibration. */
  readonly dead: Uint8Array;
  /** What GPTQ solves with; null: codes are those of the search. */
  readonly compensation: {
    /** `[columns, columns]`, in the order of solving: Uᵀ (see inverseFactor). */
    readonly factor: Float64Array;
    readonly solveOrder: Int32Array;
    /** Of coordinate descent after GPTQ. */
    readonly rounds: number;
  } | null;
}

/** Some rows that become blocks. Plain data, since it crosses threads. */
export interface BlockRowsTask {
  readonly blockType: QuantizedBlockType;
  /** `[rows, columns]`, finite. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** `[columns]`: what weighs squared errors in the search; undefined: all alike. */
  readonly importance: Float32Array | undefined;
  /** null: none, and no errors of outputs. */
  readonly hessian: BlockHessian | null;
  /** The linear's, for messages. */
  readonly name: string;
  /** What solves; the search is in TypeScript always. Default: `typescript`. */
  readonly kernels?: KernelChoice;
}

export interface BlockRows {
  /** `[rows, bytes of a row]` */
  readonly blocks: Uint8Array;
  /** All `[rows]`: `ΔW H ΔWᵀ` before the descent and after it, and `W H Wᵀ`; null without a Hessian. */
  readonly outputs: {
    readonly errorsBefore: Float64Array;
    readonly errors: Float64Array;
    readonly energies: Float64Array;
  } | null;
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
      difference(task, hessian.dead, blocks && decodeBlocks(type, blocks)),
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
  { factor, solveOrder, rounds }: NonNullable<BlockHessian['compensation']>,
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

/** `[rows, columns]`: W - Q, or W; 0 in dead columns, whose Hessian is made up. */
function difference(
  { weight, columns }: BlockRowsTask,
  dead: Uint8Array,
  quantized: Float32Array | null,
): Float64Array {
  const result = Float64Array.from(weight);
  for (let at = 0; at < result.length; at++) {
    if (dead[at % columns]) result[at] = 0;
    else if (quantized) result[at] = (result[at] as number) - (quantized[at] as number);
  }
  return result;
}
