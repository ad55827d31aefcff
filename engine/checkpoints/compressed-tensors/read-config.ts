import { z } from 'zod';
import { ACTIVATION_TYPES, type ActivationType, FLOAT_TYPES, QuantloomError, recipeOfFloats } from '../../spec';
import type { LinearSettings } from '../linear-storage';
import {
  LINEAR_LAYOUTS,
  type LinearLayout,
  linearLayout,
  MIXED_PRECISION,
  PACK_QUANTIZED,
  PLAIN_LAYOUTS,
} from './layout';
import { FLOAT_ARGS, fitsWeights, inputArgs } from './quantization-args';

const WeightsSchema = z.object({
  num_bits: z.int().default(8),
  type: z.string().default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().nullish(),
  group_size: z.int().nullish(),
  block_structure: z.array(z.int()).nullish(),
});
type Weights = z.infer<typeof WeightsSchema>;

const InputsSchema = WeightsSchema.extend({ dynamic: z.union([z.boolean(), z.string()]).default(false) });

const GroupSchema = z.object({
  targets: z.array(z.string()),
  weights: WeightsSchema.nullish(),
  input_activations: InputsSchema.nullish(),
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
 * @throws QuantloomError UnsupportedInput for weights, and inputs, that are quantized in another way than can be read, InvalidCheckpoint for what makes no sense.
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
  const layouts = new Set(schemes.flatMap(({ settings }) => settings?.layout ?? []));
  return {
    layout: config.format ?? (layouts.size > 1 ? MIXED_PRECISION : ([...layouts][0] ?? PACK_QUANTIZED)),
    settingsOf(module) {
      if (ignored.some(({ matches }) => matches(module))) return null;
      return schemes.find(({ matches }) => matches(module))?.settings ?? null;
    },
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
  requireNone(`${path}.output_activations`, group.output_activations);
  const { weights, input_activations: inputs } = group;
  if (!weights) {
    requireNone(`${path}.input_activations`, inputs);
    return null;
  }
  const layout = (group.format ?? format) as LinearLayout;
  if (!LINEAR_LAYOUTS.includes(layout)) {
    const known = LINEAR_LAYOUTS.map((name) => JSON.stringify(name)).join(', ');
    throw unsupported(`${path}.format`, layout, known);
  }
  const form = layout === PACK_QUANTIZED ? packedForm(path, weights) : formOfKernels(path, weights);
  const packed = form.floatType && form.bits === 4;
  const fits = packed ? layout === linearLayout(form) : layout === PACK_QUANTIZED || PLAIN_LAYOUTS.includes(layout);
  if (!fits) throw unsupported(`${path}.format`, layout, `of these weights ${JSON.stringify(linearLayout(form))}`);
  const activations = inputs && activationsOf(`${path}.input_activations`, inputs, form);
  return { ...form, layout, ...(activations && { activations }) };
}

type Form = Omit<LinearSettings, 'layout' | 'activations'>;

function packedForm(path: string, weights: Weights): Form {
  if (weights.type !== 'int') throw unsupported(`${path}.weights.type`, weights.type, '"int"');
  const bits = weights.num_bits;
  if (bits < 2 || bits > 8) throw unsupported(`${path}.weights.num_bits`, bits, '2 to 8');
  const size = weights.group_size;
  const strategy = strategyOf(weights);
  if (strategy !== 'channel' && !(strategy === 'group' && size != null && size > 0)) {
    throw unsupported(
      `${path}.weights`,
      { strategy, group_size: size },
      'strategy "channel", and "group" with a group_size,',
    );
  }
  return { bits, groupSize: strategy === 'channel' ? -1 : (size as number), symmetric: weights.symmetric };
}

/** Integers of a byte, or floats. */
function formOfKernels(path: string, weights: Weights): Form {
  const { type, num_bits: bits, symmetric, block_structure: structure, group_size: size } = weights;
  const strategy = strategyOf(weights);
  if (type === 'int' && bits === 8 && strategy === 'channel') return { bits, groupSize: -1, symmetric };
  if (type === 'int' && bits === 8 && strategy === 'tensor') return { bits, groupSize: -1, symmetric, perTensor: true };
  const floats = FLOAT_TYPES.find((name) => {
    const args = FLOAT_ARGS[name];
    if (!args) return false;
    const sizes = [args.group_size, args.block_structure ?? null];
    const agree = JSON.stringify(sizes) === JSON.stringify([size ?? null, structure ?? null]);
    return agree && args.num_bits === bits && args.strategy === strategy;
  });
  if (type === 'float' && symmetric && floats) return { ...recipeOfFloats(floats), floatType: floats };
  throw unsupported(
    `${path}.weights`,
    { type, num_bits: bits, strategy, group_size: size ?? null, block_structure: structure ?? null },
    '"int" of 8 bits with strategy "channel" or "tensor", "float" of 8 bits with "channel", "tensor" or "block" of [128, 128], and of 4 bits in "group" of 32 or "tensor_group" of 16,',
  );
}

function strategyOf({ strategy, group_size: size }: Weights): string {
  return strategy ?? (size == null ? 'tensor' : size > 0 ? 'group' : 'channel');
}

/** Inputs as some recipe has them; others are no matter of the weights, and would be missed. */
function activationsOf(path: string, inputs: z.infer<typeof InputsSchema>, form: Form): ActivationType {
  const { type, num_bits, symmetric, dynamic, group_size } = inputs;
  const found = { type, num_bits, symmetric, dynamic, strategy: strategyOf(inputs), group_size: group_size ?? null };
  const readable = ACTIVATION_TYPES.filter((activations) => fitsWeights(activations, form)).map((activations) => ({
    activations,
    args: inputArgs({ ...form, activations }),
  }));
  // The dtype of scales follows from the rest.
  const agreeing = readable.find(({ args }) =>
    Object.entries(found).every(([field, value]) => args?.[field as keyof typeof found] === value),
  );
  if (agreeing) return agreeing.activations;
  const wanted = [null, ...readable.map(({ args }) => args)].map((args) => JSON.stringify(args));
  throw unsupported(path, found, `of these weights ${wanted.join(', ')}`);
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
