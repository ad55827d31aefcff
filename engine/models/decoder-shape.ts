import type { ExpertShape, LayerAttention, ModelShape, RotaryScaling, SequenceLimit } from './architecture';
import { type Config, invalid, positive, type RefusedField, refuseFeatures, size } from './config-fields';
import { rotaryScaling } from './rotary-scaling';

/** A field of config.json, and its value where it is missing or null, as transformers fills it in; none: the field must be there. */
export interface NumberField {
  readonly field: string;
  readonly otherwise?: number | ((known: { readonly hiddenSize: number; readonly heads: number }) => number);
}

/** How config.json maps to a shape. */
export interface ShapeTable {
  readonly layers: NumberField;
  readonly hiddenSize: NumberField;
  readonly intermediateSize: NumberField;
  readonly heads: NumberField;
  /** null: as many as heads. */
  readonly keyValueHeads: NumberField | null;
  /** null: hiddenSize / heads. */
  readonly headSize: NumberField | null;
  readonly vocabularySize: NumberField;
  readonly maxPositions: NumberField;
  /** A number: config.json has no field for it. */
  readonly normEpsilon: NumberField | number;
  /** `tie_word_embeddings` where it is missing. */
  readonly tiedHead: boolean;
  readonly rotary: boolean;
  /** The longest sequence that there are positions for. Absent or null: any. */
  sequenceLimit?(config: Config, shape: Pick<ModelShape, 'maxPositions'>): SequenceLimit | null;
  /** How the layers attend. Absent or null: to every token before, with the same rotary positions. */
  attention?(
    config: Config,
    shape: Pick<ModelShape, 'layers' | 'maxPositions' | 'rotary'>,
  ): readonly LayerAttention[] | null;
  /** Rotary positions, where they are not where Llama has them. */
  rotaryOf?(config: Config, shape: Pick<ModelShape, 'maxPositions' | 'headSize'>): RotaryScaling;
  /** Of a mixture of experts. Absent: there are none. */
  experts?(config: Config, shape: Pick<ModelShape, 'layers' | 'intermediateSize'>): ExpertShape;
  /** What few architectures have. */
  extras?(config: Config, shape: Pick<ModelShape, 'hiddenSize'>): ShapeExtras;
  readonly refused: readonly RefusedField[];
}

export type ShapeExtras = Pick<
  ModelShape,
  'scoreScale' | 'scoreCap' | 'logitCap' | 'embeddingScale' | 'positionOffset' | 'gainOffset'
>;

/** What Llama and its descendants call things. */
export const LLAMA_FIELDS = {
  layers: { field: 'num_hidden_layers' },
  hiddenSize: { field: 'hidden_size' },
  intermediateSize: { field: 'intermediate_size' },
  heads: { field: 'num_attention_heads' },
  keyValueHeads: { field: 'num_key_value_heads', otherwise: ({ heads }) => heads },
  headSize: { field: 'head_dim', otherwise: ({ hiddenSize, heads }) => hiddenSize / heads },
  vocabularySize: { field: 'vocab_size' },
  maxPositions: { field: 'max_position_embeddings', otherwise: 2048 },
  normEpsilon: { field: 'rms_norm_eps', otherwise: 1e-6 },
  tiedHead: false,
  rotary: true,
} satisfies Partial<ShapeTable>;

/** What would change the forward pass of any of them. */
export const LLAMA_REFUSED: readonly RefusedField[] = [
  { field: 'hidden_act', harmless: ['silu'], feature: 'the activation function' },
  { field: 'pretraining_tp', harmless: [1], feature: 'tensor-parallel slicing' },
  { field: 'partial_rotary_factor', harmless: [1], feature: 'partial rotary embedding' },
  { field: 'num_local_experts', harmless: [0], feature: 'mixture of experts' },
  { field: 'num_experts', harmless: [0], feature: 'mixture of experts' },
  { field: 'n_routed_experts', harmless: [0], feature: 'mixture of experts' },
];

/** Far beyond any model; all of them are laid out before a tensor is looked for. */
const MOST_LAYERS = 1024;

/**
 * Reads the shape of a model from its config.json.
 *
 * @throws QuantloomError InvalidModel naming a field that is missing or makes no sense; UnsupportedArchitecture naming a feature.
 */
export function decoderShape(config: Config, architecture: string, table: ShapeTable): ModelShape {
  refuseFeatures(config, table.refused, architecture);
  const hiddenSize = size(config, table.hiddenSize.field, fixed(table.hiddenSize));
  const heads = size(config, table.heads.field, fixed(table.heads));
  const read = ({ field, otherwise }: NumberField) =>
    size(config, field, typeof otherwise === 'function' ? otherwise({ hiddenSize, heads }) : otherwise);
  const keyValueHeads = table.keyValueHeads === null ? heads : read(table.keyValueHeads);
  if (heads % keyValueHeads !== 0) {
    throw invalid(
      (table.keyValueHeads as NumberField).field,
      keyValueHeads,
      `a divisor of ${table.heads.field} (${heads})`,
    );
  }
  const headSize = table.headSize === null ? hiddenSize / heads : read(table.headSize);
  if (!Number.isInteger(headSize))
    throw invalid(table.heads.field, heads, `a divisor of ${hiddenSize}, the hidden size`);
  if (table.rotary && headSize % 2 !== 0) {
    throw invalid('head_dim', headSize, 'an even number: rotary embedding turns pairs');
  }
  const maxPositions = read(table.maxPositions);
  const layers = read(table.layers);
  if (layers > MOST_LAYERS) throw invalid(table.layers.field, layers, `at most ${MOST_LAYERS}`);
  const intermediateSize = read(table.intermediateSize);
  const sequenceLimit = table.sequenceLimit?.(config, { maxPositions });
  const rotary = table.rotary
    ? (table.rotaryOf?.(config, { maxPositions, headSize }) ?? rotaryScaling(config, maxPositions, architecture))
    : null;
  const attention = table.attention?.(config, { layers, maxPositions, rotary });
  const experts = table.experts?.(config, { layers, intermediateSize });
  return {
    layers,
    hiddenSize,
    intermediateSize,
    heads,
    keyValueHeads,
    headSize,
    vocabularySize: read(table.vocabularySize),
    maxPositions,
    normEpsilon:
      typeof table.normEpsilon === 'number'
        ? table.normEpsilon
        : positive(config, table.normEpsilon.field, fixed(table.normEpsilon)),
    rotary,
    tiedHead: (config.tie_word_embeddings ?? table.tiedHead) === true,
    ...(sequenceLimit && { sequenceLimit }),
    ...(attention && { attention }),
    ...(experts && { experts }),
    ...table.extras?.(config, { hiddenSize }),
  };
}

function fixed({ otherwise }: NumberField): number | undefined {
  return typeof otherwise === 'number' ? otherwise : undefined;
}
