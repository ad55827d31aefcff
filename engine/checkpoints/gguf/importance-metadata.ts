import { needsHessian, weighsInputs } from '../../quantizers';
import type { LinearPlan } from '../../spec';
import type { CheckpointContext } from '../format';
import { type GgufMetadata, text, uint32 } from './container/gguf-value';
import { importanceName } from './importance/importance-names';

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
    ['quantize.imatrix.entries_count', uint32(entriesOf(weighed))],
    ['quantize.imatrix.chunks_count', uint32(calibration.sequences)],
  ]);
}

/** The experts of a layer have one. */
function entriesOf(linears: readonly LinearPlan[]): number {
  return new Set(linears.map(({ name }) => importanceName(name)?.name ?? name)).size;
}
