import { needsHessian, weighsInputs } from '../../quantizers';
import type { CheckpointContext } from '../format';
import { type GgufMetadata, text, uint32 } from './container/gguf-value';

/**
 * `quantize.imatrix.*`, as llama.cpp's quantize writes it, where blocks were searched with the importance of input features; none elsewhere. Where
 * that was calibrated, there is no file of it.
 */
export function importanceMetadata({ linears, calibration, importance }: CheckpointContext): GgufMetadata {
  const weighed = linears.filter((linear) => linear.recipe?.blockType && weighsInputs(linear));
  if (weighed.length === 0) return new Map();
  if (importance && !weighed.some(needsHessian)) {
    const { file, datasets, entries, chunks } = importance;
    return new Map([
      ['quantize.imatrix.file', text(file)],
      // Of several texts llama.cpp's quantize takes the first.
      ...(datasets[0] === undefined ? [] : [['quantize.imatrix.dataset', text(datasets[0])] as const]),
      ['quantize.imatrix.entries_count', uint32(entries)],
      ['quantize.imatrix.chunks_count', uint32(chunks)],
    ]);
  }
  if (!calibration) return new Map();
  return new Map([
    ['quantize.imatrix.dataset', text(calibration.source)],
    ['quantize.imatrix.entries_count', uint32(weighed.length)],
    ['quantize.imatrix.chunks_count', uint32(calibration.sequences)],
  ]);
}
