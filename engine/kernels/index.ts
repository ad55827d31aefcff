export { type CodeGrid, SMALLEST_SCALE } from './code-grid';
export { type AmxState, type AmxTrial, enableAmx } from './enable-amx';
export type { ScaleProblem } from './find-scale';
export type { GptqProblem } from './gptq-columns';
export { createGram, type Gram, type GramOptions } from './gram';
export { type GridKernels, nativeGridKernels } from './grid-kernels';
export type { Kernels } from './kernels';
export type { RoundingLearningProblem } from './learn-rounding';
export { LEAST_GAIN } from './least-gain';
export type {
  GramPrecision,
  NativeAddon,
  NativeCancellation,
  NativeHash,
  NativeLinear,
  NativeProduct,
} from './native-addon';
export { floatsOnLines } from './on-lines';
export { referenceKernels } from './reference-kernels';
export type { RefinementProblem } from './refine';
export type { RoundingProblem } from './round-to-nearest';
export {
  type KernelChoice,
  nativeKernelsFor,
  preferKernels,
  preferredKernels,
  type SelectedKernels,
  selectKernels,
} from './select-kernels';
export { selectProductKernels } from './select-product-kernels';
