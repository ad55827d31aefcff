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
export { weightTensor } from './weight-tensor';
