import { z } from 'zod';
import { QuantloomError } from '../../spec';
import { DynamicOverridesSchema, readDynamicOverride } from '../dynamic-overrides';
import type { LinearSettings } from '../linear-storage';
import { GPTQ_LAYOUTS, type GptqLayout } from './layout';

/** What of a quantization_config is needed to read the weights. Unknown fields are left alone: readers of this format add many. */
const GptqConfigSchema = z.object({
  quant_method: z.literal('gptq'),
  bits: z.int().min(2).max(8),
  group_size: z.int().min(-1).default(-1),
  sym: z.boolean().default(true),
  desc_act: z.boolean().default(false),
  lm_head: z.boolean().default(false),
  checkpoint_format: z.string().optional(),
  format: z.string().optional(),
  pack_dtype: z.literal('int32').nullish(),
  dynamic: DynamicOverridesSchema,
});
export type GptqConfig = z.infer<typeof GptqConfigSchema> & { readonly layout: GptqLayout };

/** How one module is stored. */
export interface ModuleSettings extends LinearSettings {
  readonly layout: GptqLayout;
}

/**
 * The quantization_config of a config.json.
 *
 * @throws QuantloomError UnsupportedInput for another layout, InvalidCheckpoint for a field that makes no sense.
 */
export function readGptqConfig(raw: Readonly<Record<string, unknown>>): GptqConfig {
  const parsed = GptqConfigSchema.safeParse(raw);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new QuantloomError('InvalidCheckpoint', `quantization_config of config.json: ${faults.join('; ')}`);
  }
  const named = parsed.data.checkpoint_format ?? parsed.data.format ?? 'gptq';
  const layout = GPTQ_LAYOUTS.find((candidate) => candidate === named);
  if (!layout) {
    throw new QuantloomError(
      'UnsupportedInput',
      `quantization_config.checkpoint_format is "${named}"; ${GPTQ_LAYOUTS.join(', ')} can be read.`,
      { details: { checkpointFormat: named } },
    );
  }
  return { ...parsed.data, layout };
}

/**
 * The settings of one module, its `dynamic` override applied; null when the config says that it is not quantized.
 *
 * @throws QuantloomError InvalidCheckpoint for an override that cannot be understood.
 */
export function moduleSettings(config: GptqConfig, module: string): ModuleSettings | null {
  const override = readDynamicOverride(config.dynamic, module);
  if (override === false) return null;
  const settings = { bits: config.bits, groupSize: config.group_size, symmetric: config.sym, layout: config.layout };
  if (override === null) return settings;
  return {
    ...settings,
    bits: Number(override.bits ?? settings.bits),
    groupSize: Number(override.group_size ?? settings.groupSize),
    symmetric: Boolean(override.sym ?? settings.symmetric),
  };
}
