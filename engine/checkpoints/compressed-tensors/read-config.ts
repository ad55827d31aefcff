import { z } from 'zod';
import { QuantloomError } from '../../spec';
import type { LinearSettings } from '../linear-storage';
import { PACK_QUANTIZED } from './layout';

const WeightsSchema = z.object({
  num_bits: z.int().default(8),
  type: z.string().default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().nullish(),
  group_size: z.int().nullish(),
});

const GroupSchema = z.object({
  targets: z.array(z.string()),
  weights: WeightsSchema.nullish(),
  input_activations: z.unknown().optional(),
  output_activations: z.unknown().optional(),
  format: z.string().nullish(),
});
type Group = z.infer<typeof GroupSchema>;

/** What of a quantization_config is needed to read the weights. */
const ConfigSchema = z.object({
  format: z.string().nullish(),
  quantization_status: z.string().default('compressed'),
  config_groups: z.record(z.string(), GroupSchema),
  ignore: z.array(z.string()).nullish(),
  kv_cache_scheme: z.unknown().optional(),
  sparsity_config: z.unknown().optional(),
  transform_config: z.unknown().optional(),
});

/**
 * How a quantization_config of compressed-tensors says that linears are stored.
 *
 * A target is the name of a module, a regular expression after `re:` that matches from the start of the name, or the class `Linear`; names go
 * before expressions, expressions before the class, and what `ignore` matches is not quantized.
 *
 * @throws QuantloomError UnsupportedInput for what is not an integer weight in pack-quantized, InvalidCheckpoint for what makes no sense.
 */
export function readConfig(raw: Readonly<Record<string, unknown>>): (module: string) => LinearSettings | null {
  const parsed = ConfigSchema.safeParse(raw);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new QuantloomError('InvalidCheckpoint', `quantization_config of config.json: ${faults.join('; ')}`);
  }
  const config = parsed.data;
  for (const field of ['kv_cache_scheme', 'sparsity_config', 'transform_config'] as const) {
    requireNone(field, config[field]);
  }
  if (config.quantization_status !== 'compressed') {
    throw unsupported('quantization_status', config.quantization_status, '"compressed"');
  }
  const schemes = Object.entries(config.config_groups).flatMap(([name, group]) => {
    const settings = groupSettings(`config_groups.${name}`, group, config.format);
    return group.targets.map((target) => ({ ...matcher(target), settings }));
  });
  schemes.sort((a, b) => a.rank - b.rank || (a.target < b.target ? -1 : 1));
  const ignored = (config.ignore ?? []).map(matcher);
  return (module) => {
    if (ignored.some(({ matches }) => matches(module))) return null;
    return schemes.find(({ matches }) => matches(module))?.settings ?? null;
  };
}

interface Matcher {
  readonly target: string;
  /** Those of lower rank go first. */
  readonly rank: number;
  matches(module: string): boolean;
}

function matcher(target: string): Matcher {
  if (target === 'Linear') return { target, rank: 2, matches: () => true };
  if (!target.startsWith('re:')) return { target, rank: 0, matches: (module) => module === target };
  try {
    const expression = new RegExp(`^(?:${target.slice('re:'.length)})`);
    return { target, rank: 1, matches: (module) => expression.test(module) };
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `quantization_config: ${(cause as Error).message}`, { cause });
  }
}

function groupSettings(path: string, group: Group, format: string | null | undefined): LinearSettings | null {
  for (const field of ['input_activations', 'output_activations'] as const) {
    requireNone(`${path}.${field}`, group[field]);
  }
  const { weights } = group;
  if (!weights) return null;
  const own = group.format ?? format;
  if (own !== PACK_QUANTIZED) throw unsupported(`${path}.format`, own, `"${PACK_QUANTIZED}"`);
  if (weights.type !== 'int') throw unsupported(`${path}.weights.type`, weights.type, '"int"');
  const bits = weights.num_bits;
  if (bits < 2 || bits > 8) throw unsupported(`${path}.weights.num_bits`, bits, '2 to 8');
  const size = weights.group_size;
  const strategy = weights.strategy ?? (size == null ? 'tensor' : size > 0 ? 'group' : 'channel');
  if (strategy !== 'channel' && !(strategy === 'group' && size != null && size > 0)) {
    throw unsupported(
      `${path}.weights`,
      { strategy, group_size: size },
      'strategy "channel", and "group" with a group_size,',
    );
  }
  const groupSize = strategy === 'channel' ? -1 : (size as number);
  return { bits, groupSize, symmetric: weights.symmetric, layout: PACK_QUANTIZED };
}

/** What changes the meaning of weights, or the result of the model, beyond the codes. */
function requireNone(field: string, value: unknown): void {
  const isNone = value == null || (typeof value === 'object' && Object.keys(value).length === 0);
  if (!isNone) throw unsupported(field, value, 'null');
}

function unsupported(field: string, value: unknown, readable: string): QuantloomError {
  return new QuantloomError(
    'UnsupportedInput',
    `quantization_config.${field} is ${JSON.stringify(value)}; ${readable} can be read. Dequantize the checkpoint with the compressed-tensors package first.`,
    { details: { field, value } },
  );
}
