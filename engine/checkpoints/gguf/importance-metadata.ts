import { needsHessian } from '../../quantizers';
import type { CheckpointContext } from '../format';
import { type GgufMetadata, text, uint32 } from './container/gguf-value';

/**
 * `quantize.imatrix.*`, as llama.cpp's quantize writes it, where blocks were searched with the importance of input features; none elsewhere. There is
 * no file of it.
 */
export function importanceMetadata({ linears, calibration }: CheckpointContext): GgufMetadata {
  const weighed = linears.filter((linear) => linear.recipe?.blockType && needsHessian(linear));
  if (!calibration || weighed.length === 0) return new Map();
  return new Map([
    ['quantize.imatrix.dataset', text(calibration.source)],
    ['quantize.imatrix.entries_count', uint32(weighed.length)],
    ['quantize.imatrix.chunks_count', uint32(calibration.sequences)],
  ]);
}
