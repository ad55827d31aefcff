import type { Architecture, Block, LinearShape, ModelShape, Stage } from './architecture';
import { llamaRotations } from './llama-rotations';
import { llamaShape } from './llama-shape';

const EMBEDDING = 'model.embed_tokens.weight';
const FINAL_NORM = 'model.norm.weight';
const HEAD = 'lm_head';

type Has = (tensor: string) => boolean;

/** Llama 1 to 3 and what has its layers: RMS norms, rotary embedding, grouped-query attention, gated SiLU, optional biases. */
export const llama: Architecture = {
  name: 'llama',
  dtypes: ['F32', 'F16', 'BF16'],
  embedding: EMBEDDING,
  finalNorm: FINAL_NORM,
  head: `${HEAD}.weight`,

  accepts(config) {
    const named = Array.isArray(config.architectures) ? config.architectures[0] : undefined;
    return named === undefined ? config.model_type === 'llama' : named === 'LlamaForCausalLM';
  },

  shape: llamaShape,

  blocks(shape, has) {
    const layers = Array.from({ length: shape.layers }, (_, index) => decoderLayer(index, shape, has));
    return [...layers, headBlock(shape, has)];
  },

  rotations(shape, has) {
    const names = { embedding: EMBEDDING, finalNorm: FINAL_NORM, head: `${HEAD}.weight` };
    return llamaRotations(shape, llama.blocks(shape, has), names);
  },
};

function decoderLayer(index: number, shape: ModelShape, has: Has): Block {
  const name = `model.layers.${index}`;
  const inputNorm = `${name}.input_layernorm.weight`;
  const postNorm = `${name}.post_attention_layernorm.weight`;
  const { q, k, v, o, gate, up, down } = linearsOf(index, shape, has);
  const previousDown = index === 0 ? [] : [linearsOf(index - 1, shape, has).down];
  const stages: readonly Stage[] = [
    {
      name: 'attention-input',
      reads: index === 0 ? ['hidden'] : ['hidden', 'product'],
      applies: previousDown,
      parameters: { norm: inputNorm },
      captures: [q, k, v],
      leaves: ['hidden'],
      changes: index === 0 ? [] : ['hidden'],
    },
    {
      name: 'attention',
      reads: ['hidden'],
      applies: [q, k, v],
      parameters: { norm: inputNorm },
      captures: [o],
      leaves: ['hidden', 'context'],
      changes: ['context'],
    },
    {
      name: 'mlp-input',
      reads: ['hidden', 'context'],
      applies: [o],
      parameters: { norm: postNorm },
      captures: [gate, up],
      leaves: ['hidden'],
      changes: ['hidden'],
    },
    {
      name: 'mlp',
      reads: ['hidden'],
      applies: [gate, up],
      parameters: { norm: postNorm },
      captures: [down],
      leaves: ['hidden', 'product'],
      changes: ['product'],
    },
  ];
  const norms = [inputNorm, postNorm].map((norm) => [norm, [shape.hiddenSize]] as const);
  return { name, stages, tensors: new Map([...norms, ...tensorsOf([q, k, v, o, gate, up, down])]) };
}

/** The final norm and a tied head belong to no block: they are never quantized. */
function headBlock(shape: ModelShape, has: Has): Block {
  const head = linear(HEAD, shape.vocabularySize, shape.hiddenSize, has);
  const headInput: Stage = {
    name: 'head-input',
    reads: ['hidden', 'product'],
    applies: [linearsOf(shape.layers - 1, shape, has).down],
    parameters: { norm: FINAL_NORM },
    captures: [head],
    leaves: ['hidden'],
    changes: ['hidden'],
  };
  return { name: HEAD, stages: [headInput], tensors: new Map(shape.tiedHead ? [] : tensorsOf([head])) };
}

function linearsOf(index: number, shape: ModelShape, has: Has) {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headSize } = shape;
  const attention = `model.layers.${index}.self_attn`;
  const mlp = `model.layers.${index}.mlp`;
  return {
    q: linear(`${attention}.q_proj`, heads * headSize, hiddenSize, has),
    k: linear(`${attention}.k_proj`, keyValueHeads * headSize, hiddenSize, has),
    v: linear(`${attention}.v_proj`, keyValueHeads * headSize, hiddenSize, has),
    o: linear(`${attention}.o_proj`, hiddenSize, heads * headSize, has),
    gate: linear(`${mlp}.gate_proj`, intermediateSize, hiddenSize, has),
    up: linear(`${mlp}.up_proj`, intermediateSize, hiddenSize, has),
    down: linear(`${mlp}.down_proj`, hiddenSize, intermediateSize, has),
  };
}

function linear(name: string, rows: number, columns: number, has: Has): LinearShape {
  return { name, rows, columns, bias: has(`${name}.bias`) };
}

function tensorsOf(linears: readonly LinearShape[]): readonly (readonly [string, readonly number[]])[] {
  return linears.flatMap(({ name, rows, columns, bias }) => [
    [`${name}.weight`, [rows, columns]] as const,
    ...(bias ? [[`${name}.bias`, [rows]] as const] : []),
  ]);
}
