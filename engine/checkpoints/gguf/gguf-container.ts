import type { WeightContainer } from '../weight-container';
import { assembleGguf } from './assemble-gguf';
import { readGgufHeader } from './container/read-gguf';
import { ggufFileAt } from './gguf-file-at';
import { inspectGguf } from './inspect-gguf';
import type { GgufMix } from './mixes/gguf-mix';
import { openGguf } from './open-gguf';
import { recoverTokenizer } from './tokenizer/recover-tokenizer';

/** One GGUF file, whose header is written when all blocks are finished. @param mix what chose the types; null: none. */
export function ggufContainer(mix: GgufMix | null): WeightContainer {
  return {
    holdsWeights: (file) => /\.gguf$/i.test(file),
    filesAreShards: false,
    assemble: (assembly) => assembleGguf(assembly, mix),
    open: openGguf,
    async companions(path) {
      const { file } = await ggufFileAt(path);
      return recoverTokenizer((await readGgufHeader(file)).metadata, file);
    },
    inspect: inspectGguf,
  };
}
