import { z } from 'zod';
import { QuantloomError } from '../../spec';
import { DynamicOverridesSchema, readDynamicOverride } from '../dynamic-overrides';
import type { LinearSettings } from '../linear-storage';
import { isHead } from '../model-config';
import { skippedModules } from '../skipped-modules';
import { AWQ_BITS, GEMM } from './layout';

/** What of a quantization_config is needed to read the weights; transformers, AutoAWQ and GPTQModel name fields differently. */
const ConfigSchema = z.object({
  bits: z.int().optional(),
  w_bit: z.int().optional(),
  group_size: z.int().min(-1).optional(),
  q_group_size: z.int().min(-1).optional(),
  version: z.string().nullish(),
  format: z.string().nullish(),
  checkpoint_format: z.string().nullish(),
  modules_to_not_convert: z.array(z.string()).nullish(),
  dynamic: DynamicOverridesSchema,
});

/**
 * How a quantization_config says that linears are stored.
 *
 * @throws QuantloomError UnsupportedInput for another layout or width, InvalidCheckpoint for what makes no sense.
 */
export function readConfig(raw: Readonly<Record<string, unknown>>): {
  readonly layout: string;
  settingsOf(module: string): LinearSettings | null;
} {
  const parsed = ConfigSchema.safeParse(raw);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new QuantloomError('InvalidCheckpoint', `quantization_config of config.json: ${faults.join('; ')}`);
  }
  const { data: config } = parsed;
  const version = config.version ?? config.format ?? config.checkpoint_format ?? GEMM;
  if (version.toLowerCase() !== GEMM) throw unsupported('version', version, GEMM);
  const bits = config.bits ?? config.w_bit ?? AWQ_BITS;
  if (bits !== AWQ_BITS) throw unsupported('bits', bits, AWQ_BITS);
  const groupSize = config.group_size ?? config.q_group_size ?? 128;
  if (groupSize === 0) throw unsupported('group_size', groupSize, '-1 (whole rows) or columns that share a scale');
  const skipped = skippedModules(config.modules_to_not_convert ?? []);
  return {
    layout: GEMM,
    settingsOf(module) {
      const override = readDynamicOverride(config.dynamic, module);
      if (isHead(module) || skipped(module) || override === false) return null;
      const own = Number(override?.bits ?? bits);
      if (own !== AWQ_BITS) throw unsupported(`dynamic, bits of ${module}`, own, AWQ_BITS);
      return { bits, groupSize: Number(override?.group_size ?? groupSize), symmetric: false, layout: GEMM };
    },
  };
}

function unsupported(field: string, found: unknown, known: unknown): QuantloomError {
  return new QuantloomError(
    'UnsupportedInput',
    `quantization_config.${field} is ${JSON.stringify(found)}; of AWQ, ${known} can be read.`,
    { details: { [field]: found } },
  );
}
