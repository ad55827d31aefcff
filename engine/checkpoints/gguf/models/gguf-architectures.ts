import { QuantloomError } from '../../../spec';
import { ggufGemma2, ggufGemma3 } from './gemma';
import type { GgufArchitecture } from './gguf-architecture';
import { ggufGpt2 } from './gpt2';
import { ggufLlama } from './llama';
import { ggufPhi3 } from './phi3';
import { ggufQwen2 } from './qwen2';
import { ggufQwen2Moe } from './qwen2moe';
import { ggufQwen3 } from './qwen3';
import { ggufQwen3Moe } from './qwen3moe';

/** By the names of engine/models: what each is in GGUF. */
const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: ggufLlama,
  mistral: ggufLlama,
  mixtral: ggufLlama,
  qwen2: ggufQwen2,
  qwen2_moe: ggufQwen2Moe,
  qwen3: ggufQwen3,
  qwen3_moe: ggufQwen3Moe,
  phi3: ggufPhi3,
  gemma2: ggufGemma2,
  gemma3: ggufGemma3,
  gpt2: ggufGpt2,
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
    `${name} has no name in GGUF, or none that Quantloom knows. Supported: ${Object.keys(GGUF_ARCHITECTURES).join(', ')}.`,
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
