import type { ModelShape } from '../../../models';
import type { ExpertShape } from '../../../models/architecture';
import type { GgufMixName, QuantizedBlockType } from '../../../spec';
import { BLOCK_TYPES } from '../blocks/block-types';
import type { GgufMix } from './gguf-mix';

/** What llama.cpp looks at when it chooses a type. */
export interface MixedModel {
  readonly mix: GgufMix;
  /** In GGUF. */
  readonly architecture: string;
  readonly shape: Pick<ModelShape, 'layers' | 'heads' | 'keyValueHeads'> & {
    readonly experts?: Pick<ExpertShape, 'count'>;
  };
  /** The head is the embedding: the file has no `output.weight`. */
  readonly tiedHead: boolean;
  /** There is an importance matrix. */
  readonly calibrated: boolean;
}

/** Where a rule is asked. */
interface Place extends Omit<MixedModel, 'mix'> {
  readonly layer: number;
}

/** The type there; undefined: that of the mix. */
type Rule = (place: Place) => QuantizedBlockType | undefined;
type Rules = Readonly<Partial<Record<GgufMixName, Rule>>>;

const sharesValues = ({ shape }: Place) => shape.heads / shape.keyValueHeads >= 4;
const inFirst = (share: number) => (place: Place) => place.layer < Math.floor(place.shape.layers / share);
/** The first eighth, the last eighth, and every third layer between them. */
const isSensitive: (place: Place) => boolean = ({ layer, shape: { layers } }) => {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
};

const always =
  (type: QuantizedBlockType): Rule =>
  () =>
    type;
const where =
  (condition: (place: Place) => boolean, type: QuantizedBlockType, otherwise?: QuantizedBlockType): Rule =>
  (place) =>
    condition(place) ? type : otherwise;
const uncalibratedFirst = where((place) => !place.calibrated && inFirst(8)(place), 'Q5_K');
const calibratedFirst = (type: QuantizedBlockType) => where((place) => place.calibrated && inFirst(8)(place), type);

const VALUES: Rules = {
  q2_k: where(sharesValues, 'Q4_K', 'Q3_K'),
  q2_k_s: where(sharesValues, 'Q4_K'),
  q3_k_m: where(({ layer }) => layer < 2, 'Q5_K', 'Q4_K'),
  q3_k_l: always('Q5_K'),
  q4_k_s: where(({ layer }) => layer < 4, 'Q5_K'),
  q4_k_m: where(isSensitive, 'Q6_K'),
  q5_k_m: where(isSensitive, 'Q6_K'),
  iq4_nl: where(sharesValues, 'Q5_K'),
  iq4_xs: where(sharesValues, 'Q5_K'),
};

const DOWN: Rules = {
  q2_k: always('Q3_K'),
  q2_k_s: where(inFirst(8), 'Q4_K'),
  q3_k_m: where(inFirst(16), 'Q5_K', 'Q4_K'),
  q3_k_l: always('Q5_K'),
  q4_0: calibratedFirst('Q4_1'),
  q4_k_s: where(inFirst(8), 'Q5_K'),
  q4_k_m: where(isSensitive, 'Q6_K'),
  q5_0: calibratedFirst('Q5_1'),
  q5_k_m: where(isSensitive, 'Q6_K'),
  iq4_nl: uncalibratedFirst,
  iq4_xs: uncalibratedFirst,
};

const ATTENTION_OUTPUT: Rules = { q2_k: always('Q3_K'), q3_k_m: always('Q4_K'), q3_k_l: always('Q5_K') };

/** Where attention's output has Q5_K in a mixture of eight experts, Mixtral, whose attention is small beside them. */
const BETTER_OUTPUT: readonly GgufMixName[] = ['q2_k', 'q3_k_s', 'q3_k_m', 'q4_k_s', 'q4_k_m', 'iq4_nl', 'iq4_xs'];
const OF_EIGHT: readonly (readonly [pattern: RegExp, type: (mix: GgufMix) => QuantizedBlockType])[] = [
  [/\.attn_(k|v|qkv)\.weight$/, () => 'Q8_0'],
  [/\.attn_output\.weight$/, ({ name, blockType }) => (BETTER_OUTPUT.includes(name) ? 'Q5_K' : blockType)],
];

/** By the end of a tensor's name. Attention of fused q, k and v counts as values. */
const RULES: readonly (readonly [pattern: RegExp, rules: Rules])[] = [
  [/\.attn_(v|qkv)\.weight$/, VALUES],
  [/\.ffn_down(_exps|_shexp)?\.weight$/, DOWN],
  [/\.attn_output\.weight$/, ATTENTION_OUTPUT],
];

/** What takes the place of a type whose blocks do not divide the rows. */
const FALLBACKS: Readonly<Partial<Record<QuantizedBlockType, QuantizedBlockType>>> = {
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
  IQ4_XS: 'IQ4_NL',
  TQ1_0: 'Q4_0',
  TQ2_0: 'Q4_0',
};

/**
 * The type that llama.cpp's quantize gives a matrix (llama-quant.cpp, `llama_tensor_get_type`); null where no type fits its rows, which are no
 * multiple of 32. Experts of a layer are one matrix.
 *
 * @param name in GGUF.
 */
export function typeInMix(model: MixedModel, name: string, columns: number): QuantizedBlockType | null {
  return fittingType(wantedType(model, name, columns), columns);
}

/** The type, or what takes its place where its blocks do not divide the rows; null: nothing does. */
export function fittingType(type: QuantizedBlockType, columns: number): QuantizedBlockType | null {
  const fits = (candidate: QuantizedBlockType) => columns % BLOCK_TYPES[candidate].blockSize === 0;
  if (fits(type)) return type;
  const fallback = FALLBACKS[type];
  return fallback && fits(fallback) ? fallback : null;
}

function wantedType(model: MixedModel, name: string, columns: number): QuantizedBlockType {
  const { mix, architecture, shape, tiedHead } = model;
  const { blockType } = mix;
  if (name === 'output.weight' || (tiedHead && name === 'token_embd.weight')) {
    return blockType === 'Q8_0' || columns % BLOCK_TYPES[blockType].blockSize !== 0 ? 'Q8_0' : 'Q6_K';
  }
  if (name === 'token_embd.weight') return blockType === 'TQ1_0' || blockType === 'TQ2_0' ? 'Q4_K' : blockType;
  if (mix.experts && /_exps\.weight$/.test(name)) return mix.experts;
  const ofEight = shape.experts?.count === 8 && OF_EIGHT.find(([pattern]) => pattern.test(name));
  if (ofEight) return ofEight[1](mix);
  const rules = RULES.find(([pattern]) => pattern.test(name))?.[1];
  const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1]);
  const type = rules?.[mix.name]?.({ ...model, layer }) ?? blockType;
  // Llama and Qwen2 with 80 layers are taken for 70B, but for Llama 65B, whose heads share no values.
  const isLarge =
    shape.layers === 80 &&
    (architecture === 'qwen2' || (architecture === 'llama' && shape.heads !== shape.keyValueHeads));
  return rules === VALUES && isLarge && (type === 'Q3_K' || type === 'Q4_K') ? 'Q5_K' : type;
}
