import { QuantloomError } from '../spec';
import type { Architecture } from './architecture';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { gpt2 } from './gpt2';
import { llama } from './llama';
import { mistral } from './mistral';
import { mixtral } from './mixtral';
import { opt } from './opt';
import { phi3 } from './phi3';
import { qwen2 } from './qwen2';
import { qwen2Moe } from './qwen2-moe';
import { qwen3 } from './qwen3';
import { qwen3Moe } from './qwen3-moe';

/** Every architecture that Quantloom can run. Adding one: a table beside `llama.ts`, and a line here. */
export const ARCHITECTURES: readonly Architecture[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  gpt2,
  opt,
  gemma2,
  gemma3,
  phi3,
  mixtral,
  qwen2Moe,
  qwen3Moe,
];

/**
 * The architecture that a config.json describes, with the names that the files use.
 *
 * @param has which tensors there are. Default: none is known, so the names are those that transformers writes.
 * @throws QuantloomError UnsupportedArchitecture naming what was found and what there is.
 */
export function architectureOf(
  config: Readonly<Record<string, unknown>>,
  has: (tensor: string) => boolean = () => false,
): Architecture {
  const architecture = ARCHITECTURES.find((candidate) => candidate.accepts(config));
  if (architecture !== undefined) return architecture.named(has);
  const found = `architectures ${JSON.stringify(config.architectures ?? null)}, model_type ${JSON.stringify(config.model_type ?? null)}`;
  const supported = ARCHITECTURES.map(({ name }) => name);
  const classes = ARCHITECTURES.map(({ modelClass }) => modelClass);
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `config.json describes ${found}. Supported architectures: ${supported.join(', ')} (${classes.join(', ')}).`,
    { details: { architectures: config.architectures, modelType: config.model_type, supported } },
  );
}

/** @throws QuantloomError UnsupportedArchitecture for a name that is not in the registry. */
export function architectureNamed(name: string): Architecture {
  const architecture = ARCHITECTURES.find((candidate) => candidate.name === name);
  if (architecture) return architecture;
  const supported = ARCHITECTURES.map((candidate) => candidate.name).join(', ');
  throw new QuantloomError('UnsupportedArchitecture', `There is no architecture "${name}". Known: ${supported}.`);
}
