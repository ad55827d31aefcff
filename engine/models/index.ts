export type {
  Architecture,
  Basis,
  Block,
  LinearShape,
  ModelShape,
  RotaryScaling,
  Stage,
  TensorRotation,
} from './architecture';
export { ARCHITECTURES, architectureOf } from './architecture-of';
export { llama } from './llama';
export { type ResidualEnd, residualEnd } from './residual-end';
export { weightTensor } from './weight-tensor';
