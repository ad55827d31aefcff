import type { WeightContainer } from '../weight-container';
import { assembleOnnx } from './assemble-onnx';
import { inspectOnnx } from './inspect-onnx';
import { isModelFile } from './model-files';
import { openOnnx } from './open-onnx';

/** A graph, written when all blocks are finished, and the files with its weights beside it. */
export const onnxContainer: WeightContainer = {
  holdsWeights: isModelFile,
  filesAreShards: false,
  assemble: assembleOnnx,
  open: openOnnx,
  inspect: inspectOnnx,
};
