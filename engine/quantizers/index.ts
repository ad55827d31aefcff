export { dequantize } from './dequantize';
export type { AffineLinear } from './grids/affine-grid';
export type { BlocksLinear } from './grids/blocks-grid';
export { type CodebookLinear, type NestedAbsmax, resolveAbsmax } from './grids/codebook-grid';
export type { RowReader } from './grids/grid';
export { gridOf } from './grids/grids';
export type { Int8RowsLinear } from './grids/int8-rows-grid';
export type { MinifloatLinear } from './grids/minifloat-grid';
export { type MergeOptions, mergeHessians, type PartialHessian } from './merge-hessians';
export { mergeMagnitudes } from './merge-magnitudes';
export { mergeMismatches, type PartialMismatch } from './merge-mismatches';
export { matricesOfStack, mergeStacks, type ReadFloats } from './merge-stacks';
export {
  factorizes,
  gridKindOf,
  METHODS,
  needsCalibration,
  needsHessian,
  needsMagnitudes,
  type QuantizationMethod,
  refuseRecipe,
  solvesByRows,
  weighsInputs,
} from './methods';
export { scaleLayout } from './minifloat/minifloat-types';
export type { Mismatch } from './mismatch-target';
export { type PreparedHessian, prepareHessian } from './prepare-hessian';
export {
  factorizeAhead,
  joinRows,
  type LinearToQuantize,
  quantizeLinear,
  quantizeRowRange,
  type SolvedRows,
} from './quantize-linear';
export type { GridKind, QuantizationResult, QuantizedLinear } from './quantized-linear';
export { parseQuantizedLinear, serializeQuantizedLinear, viewQuantizedLinear } from './serialize-quantized-linear';
export { parseSolvedRows, serializeSolvedRows } from './serialize-solved-rows';
