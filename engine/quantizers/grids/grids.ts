import type { GridKind, QuantizedLinear } from '../quantized-linear';
import { affineGrid } from './affine-grid';
import { blocksGrid } from './blocks-grid';
import { codebookGrid } from './codebook-grid';
import type { Grid } from './grid';
import { int8RowsGrid } from './int8-rows-grid';
import { minifloatGrid } from './minifloat-grid';

/** Every kind of grid. */
export const GRIDS: { readonly [Kind in GridKind]: Grid<Extract<QuantizedLinear, { kind: Kind }>> } = {
  affine: affineGrid,
  codebook: codebookGrid,
  'int8-rows': int8RowsGrid,
  blocks: blocksGrid,
  minifloat: minifloatGrid,
};

/** The grid that a linear is quantized to. */
export function gridOf<Linear extends QuantizedLinear>(linear: Linear): Grid<Linear> {
  return GRIDS[linear.kind] as unknown as Grid<Linear>;
}
