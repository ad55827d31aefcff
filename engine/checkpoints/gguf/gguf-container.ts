import type { WeightContainer } from '../weight-container';
import { assembleGguf } from './assemble-gguf';
import { inspectGguf } from './inspect-gguf';
import { openGguf } from './open-gguf';

/** One GGUF file, whose header is written when all blocks are finished. */
export const ggufContainer: WeightContainer = {
  holdsWeights: (file) => /\.gguf$/i.test(file),
  filesAreShards: false,
  assemble: assembleGguf,
  open: openGguf,
  inspect: inspectGguf,
};
