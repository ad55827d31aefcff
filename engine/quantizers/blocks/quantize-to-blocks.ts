import type { QuantizedBlockType } from '../../spec';
import type { BlocksLinear } from '../grids/blocks-grid';
import { type LinearForGrid, quantizeOnGrid } from '../on-grid/quantize-on-grid';
import type { QuantizationResult } from '../quantized-linear';
import type { SolverPool } from '../solver-pool';
import type { BlockRows } from './quantize-block-rows';

/**
 * Quantizes one linear to blocks of GGUF: kquants by search alone, gptq with error compensation on the grid that the search found.
 *
 * @param linear its recipe has a `blockType`.
 * @throws as quantizeOnGrid.
 */
export function quantizeToBlocks(linear: LinearForGrid, pool: SolverPool): Promise<QuantizationResult<BlocksLinear>> {
  const { rows, columns, recipe, signal } = linear;
  const blockType = recipe.blockType as QuantizedBlockType;
  return quantizeOnGrid(linear, pool, {
    solve: (task) => pool.quantizeBlockRows({ blockType, ...task }, signal),
    join(parts: readonly BlockRows[]) {
      const blocks = Buffer.concat(parts.map((part) => part.blocks));
      return {
        ...{ kind: 'blocks', rows, columns, blockType },
        blocks: new Uint8Array(blocks.buffer, blocks.byteOffset, blocks.length),
      };
    },
  });
}
