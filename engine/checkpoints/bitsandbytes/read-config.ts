import { z } from 'zod';
import { QuantloomError } from '../../spec';
import type { LinearSettings } from '../linear-storage';
import { isHead } from '../model-config';
import { skippedModules } from '../skipped-modules';
import type { BitsandbytesLayout } from './layout';

/** What of a BitsAndBytesConfig of transformers is needed to read the weights. */
const ConfigSchema = z.object({
  load_in_4bit: z.boolean().nullish(),
  load_in_8bit: z.boolean().nullish(),
  bnb_4bit_quant_type: z.enum(['nf4', 'fp4']).default('fp4'),
  bnb_4bit_quant_storage: z.string().default('uint8'),
  llm_int8_skip_modules: z.array(z.string()).nullish(),
});

/**
 * How a quantization_config says that linears are stored.
 *
 * What is skipped stands in `llm_int8_skip_modules`; without it, the head is.
 *
 * @throws QuantloomError UnsupportedInput for 4-bit codes that are not stored as bytes, InvalidCheckpoint for what makes no sense.
 */
export function readConfig(raw: Readonly<Record<string, unknown>>): {
  readonly layout: BitsandbytesLayout;
  settingsOf(module: string): LinearSettings | null;
} {
  const parsed = ConfigSchema.safeParse(raw);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new QuantloomError('InvalidCheckpoint', `quantization_config of config.json: ${faults.join('; ')}`);
  }
  const config = parsed.data;
  if (config.load_in_4bit === config.load_in_8bit) {
    throw new QuantloomError(
      'InvalidCheckpoint',
      'quantization_config says neither load_in_4bit nor load_in_8bit, or both; one of them is true.',
    );
  }
  if (config.load_in_4bit && config.bnb_4bit_quant_storage !== 'uint8') {
    throw new QuantloomError(
      'UnsupportedInput',
      `quantization_config.bnb_4bit_quant_storage is ${JSON.stringify(config.bnb_4bit_quant_storage)}; "uint8" can be read. Save the model again with it.`,
      { details: { bnb_4bit_quant_storage: config.bnb_4bit_quant_storage } },
    );
  }
  const layout = config.load_in_8bit ? 'int8' : config.bnb_4bit_quant_type;
  const settings: LinearSettings = config.load_in_8bit
    ? { bits: 8, groupSize: -1, symmetric: true, layout }
    : { bits: 4, groupSize: 0, symmetric: true, layout };
  const isKept = config.llm_int8_skip_modules ? skippedModules(config.llm_int8_skip_modules) : isHead;
  return { layout, settingsOf: (module) => (isKept(module) ? null : settings) };
}
