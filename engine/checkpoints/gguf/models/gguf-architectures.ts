import { QuantloomError } from '../../../spec';
import type { GgufArchitecture } from './gguf-architecture';
import { ggufLlama } from './llama';
import { ggufQwen2 } from './qwen2';

/** By the names of engine/models: what each is in GGUF. */
const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: ggufLlama,
  mistral: ggufLlama,
  qwen2: ggufQwen2,
};

/**
 * The entry of an architecture of engine/models.
 *
 * @throws QuantloomError UnsupportedArchitecture listing what there is.
 */
export function ggufArchitectureOf(name: string): GgufArchitecture {
  const entry = Object.hasOwn(GGUF_ARCHITECTURES, name) ? GGUF_ARCHITECTURES[name] : undefined;
  if (entry !== undefined) return entry;
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `${name} cannot be written to GGUF yet. Supported: ${Object.keys(GGUF_ARCHITECTURES).join(', ')}.`,
    { details: { architecture: name } },
  );
}
