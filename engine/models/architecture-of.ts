import { QuantloomError } from '../spec';
import type { Architecture } from './architecture';
import { llama } from './llama';

/** Every architecture that Quantloom can run. Adding one: a file beside `llama.ts`, and a line here. */
export const ARCHITECTURES: readonly Architecture[] = [llama];

/**
 * The architecture that a config.json describes.
 *
 * @throws QuantloomError UnsupportedArchitecture naming what was found and what there is.
 */
export function architectureOf(config: Readonly<Record<string, unknown>>): Architecture {
  const architecture = ARCHITECTURES.find((candidate) => candidate.accepts(config));
  if (architecture !== undefined) return architecture;
  const found = `architectures ${JSON.stringify(config.architectures ?? null)}, model_type ${JSON.stringify(config.model_type ?? null)}`;
  const supported = ARCHITECTURES.map(({ name }) => name);
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `config.json describes ${found}. Supported architectures: ${supported.join(', ')} (LlamaForCausalLM).`,
    { details: { architectures: config.architectures, modelType: config.model_type, supported } },
  );
}
