export { dequantize } from './dequantize';
export { type MergeOptions, mergeHessians, type PartialHessian } from './merge-hessians';
export { mergeMismatches, type PartialMismatch } from './merge-mismatches';
export { METHODS } from './methods';
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
export type { QuantizationResult, QuantizedLinear } from './quantized-linear';
export { parseQuantizedLinear, serializeQuantizedLinear, viewQuantizedLinear } from './serialize-quantized-linear';
export { parseSolvedRows, serializeSolvedRows } from './serialize-solved-rows';
