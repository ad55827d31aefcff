export type {
  Architecture,
  Basis,
  Block,
  ExpertShape,
  InputRounding,
  LayerAttention,
  LinearRole,
  LinearShape,
  ModelShape,
  NormKind,
  RotaryScaling,
  SequenceLimit,
  Stage,
  StageOperator,
  TensorRotation,
} from './architecture';
export { ARCHITECTURES, architectureNamed, architectureOf } from './architecture-of';
export { type CapturedInput, calibratingStage, capturedInputs, inputsByLinear } from './captured-inputs';
export { gemma2 } from './gemma2';
export { gemma3 } from './gemma3';
export { gpt2 } from './gpt2';
export { linearKey } from './linear-key';
export { llama } from './llama';
export { headerOfStack, type StackedMatrix, stackHeader, stackLength } from './matrix-stack';
export { mistral } from './mistral';
export { opt } from './opt';
export { phi3 } from './phi3';
export { qwen2 } from './qwen2';
export { qwen3 } from './qwen3';
export { type ResidualEnd, residualEnd } from './residual-end';
export { refuseLongSequences } from './sequence-limit';
export { transposedWeights } from './transposed-weights';
export { weightTensor } from './weight-tensor';
