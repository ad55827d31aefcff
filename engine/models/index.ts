export type { Architecture, Block, LinearShape, ModelShape, RotaryScaling, Stage } from './architecture';
export { ARCHITECTURES, architectureOf } from './architecture-of';
export { llama } from './llama';
export { weightTensor } from './weight-tensor';
