import { type Config, invalid, positive, type RefusedField } from './config-fields';
import { LLAMA_FIELDS, LLAMA_REFUSED, type ShapeExtras, type ShapeTable } from './decoder-shape';

/** What Gemma 2 and 3 call things; defaults are transformers'. */
export const GEMMA_FIELDS = {
  ...LLAMA_FIELDS,
  headSize: { field: 'head_dim', otherwise: 256 },
  tiedHead: true,
} satisfies Partial<ShapeTable>;

export const GEMMA_REFUSED: readonly RefusedField[] = [
  ...LLAMA_REFUSED.filter(({ field }) => field !== 'hidden_act'),
  // Releases had both fields; transformers computes the second.
  { field: 'hidden_activation', harmless: ['gelu_pytorch_tanh'], feature: 'the activation function' },
  { field: 'use_bidirectional_attention', harmless: [false], feature: 'attention in both directions' },
];

/** Soft caps where config.json has no such field; null: none. */
export interface CapDefaults {
  readonly score: number | null;
  readonly logit: number | null;
}

/**
 * What Gemma adds to a decoder (arXiv 2408.00118, section 2): a scale of scores of its own, soft caps, an embedding times
 * sqrt(hiddenSize), and gains that are stored less 1.
 *
 * @throws QuantloomError InvalidModel naming the field.
 */
export function gemmaExtras(config: Config, hiddenSize: number, caps: CapDefaults): ShapeExtras {
  const scoreCap = cap(config, 'attn_logit_softcapping', caps.score);
  const logitCap = cap(config, 'final_logit_softcapping', caps.logit);
  return {
    scoreScale: positive(config, 'query_pre_attn_scalar', 256) ** -0.5,
    ...(scoreCap !== null && { scoreCap }),
    ...(logitCap !== null && { logitCap }),
    embeddingScale: inModelType(Math.sqrt(hiddenSize), config.dtype ?? config.torch_dtype),
    gainOffset: 1,
  };
}

function cap(config: Config, field: string, otherwise: number | null): number | null {
  return config[field] === undefined ? otherwise : config[field] === null ? null : positive(config, field);
}

/** A number as a model of this type holds it: rounded to nearest, ties to even. */
function inModelType(value: number, dtype: unknown): number {
  const mantissaBits = { bfloat16: 8, float16: 11, float32: 24 }[(dtype ?? 'float32') as string];
  if (mantissaBits === undefined) throw invalid('dtype', dtype, 'float32, float16 or bfloat16');
  const unit = 2 ** (Math.floor(Math.log2(value)) - mantissaBits + 1);
  const quotient = value / unit;
  const below = Math.floor(quotient);
  const up = quotient - below > 0.5 || (quotient - below === 0.5 && below % 2 === 1);
  return (below + (up ? 1 : 0)) * unit;
}
