import type { LinearReport } from '../spec';
import type { AffineLinear } from './grids/affine-grid';
import type { BlocksLinear } from './grids/blocks-grid';
import type { CodebookLinear } from './grids/codebook-grid';
import type { Int8RowsLinear } from './grids/int8-rows-grid';
import type { MinifloatLinear } from './grids/minifloat-grid';

/**
 * A quantized weight: codes on one of the kinds of grids (grids/grids.ts). Rows are output features, columns input features, in the order of
 * the source.
 */
export type QuantizedLinear = AffineLinear | CodebookLinear | Int8RowsLinear | BlocksLinear | MinifloatLinear;

/** The kinds of grids that weights are quantized to. */
export type GridKind = QuantizedLinear['kind'];

/** What a method returns: the weight and what happened on the way (everything of the report but its name). */
export interface QuantizationResult<Linear extends QuantizedLinear = QuantizedLinear> {
  readonly linear: Linear;
  readonly report: Omit<LinearReport, 'name' | 'recipe'>;
}
