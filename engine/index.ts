/** Quantloom as a library: the engine without Temporal. */
export { loadTokenizer, type TextTokenizer } from './calibration';
export { type CheckpointReader, openCheckpoint, type VerificationResult, verifyCheckpoint } from './checkpoints';
export { exportOnnx, type OnnxExport, type OnnxExportOptions } from './checkpoints/onnx';
export { type DirectOptions, quantizeDirect } from './direct/quantize-direct';
export { generate, perplexity } from './evaluation';
export { planModel } from './planning';
export { dequantize, type QuantizedLinear, quantizeLinear } from './quantizers';
export {
  parseQuantizationSpec,
  type QuantizationSpec,
  type QuantizationSpecInput,
  QuantloomError,
  type Recipe,
} from './spec';
