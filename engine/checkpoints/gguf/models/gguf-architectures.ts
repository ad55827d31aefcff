import { QuantloomError } from '../../../spec';
import type { GgufArchitecture } from './gguf-architecture';
import { ggufLlama } from './llama';
import { ggufQwen2 } from './qwen2';
import { ggufQwen2Moe } from './qwen2moe';
import { ggufQwen3Moe } from './qwen3moe';

/** By the names of engine/models: what each is in GGUF. */
const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: ggufLlama,
  mistral: ggufLlama,
  qwen2: ggufQwen2,
  mixtral: ggufLlama,
  qwen2_moe: ggufQwen2Moe,
  qwen3_moe: ggufQwen3Moe,
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

/** The entry by its name in GGUF, `general.architecture`. @throws QuantloomError UnsupportedArchitecture listing what there is. */
export function ggufArchitectureNamed(name: string): GgufArchitecture {
  const entries = Object.values(GGUF_ARCHITECTURES);
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `general.architecture is ${JSON.stringify(name)}; ${[...new Set(entries.map((known) => known.name))].join(', ')} can be read.`,
  );
}
