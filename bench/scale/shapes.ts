import { closeSync, copyFileSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { openModelDirectory, resolveModelDirectory } from '../../engine/sources';

/** A model as far as its shapes go. */
export interface ModelShapes {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** By tensor name. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
}

type Projections = Readonly<Record<string, readonly [rows: number, columns: number]>>;

function modelShapes(
  name: string,
  config: Readonly<Record<string, unknown>> & { vocab_size: number; hidden_size: number; num_hidden_layers: number },
  layer: { readonly linears: Projections; readonly vectors: Readonly<Record<string, number>> },
): ModelShapes {
  const tensors = new Map<string, readonly number[]>();
  tensors.set('model.embed_tokens.weight', [config.vocab_size, config.hidden_size]);
  for (let index = 0; index < config.num_hidden_layers; index++) {
    for (const [module, shape] of Object.entries(layer.linears))
      tensors.set(`model.layers.${index}.${module}.weight`, shape);
    for (const [module, length] of Object.entries(layer.vectors))
      tensors.set(`model.layers.${index}.${module}.weight`, [length]);
  }
  tensors.set('model.norm.weight', [config.hidden_size]);
  tensors.set('lm_head.weight', [config.vocab_size, config.hidden_size]);
  return { name, config, tensors };
}

function attention(hidden: number, heads: number, keyValueHeads: number, headSize: number): Projections {
  return {
    'self_attn.q_proj': [heads * headSize, hidden],
    'self_attn.k_proj': [keyValueHeads * headSize, hidden],
    'self_attn.v_proj': [keyValueHeads * headSize, hidden],
    'self_attn.o_proj': [hidden, heads * headSize],
  };
}

function mlp(prefix: string, hidden: number, intermediate: number): Projections {
  return {
    [`${prefix}.gate_proj`]: [intermediate, hidden],
    [`${prefix}.up_proj`]: [intermediate, hidden],
    [`${prefix}.down_proj`]: [hidden, intermediate],
  };
}

const NORMS = { input_layernorm: 0, post_attention_layernorm: 0 };

function norms(hidden: number): Record<string, number> {
  return Object.fromEntries(Object.keys(NORMS).map((name) => [name, hidden]));
}

/** Llama 3 70B: config.json of the model. */
export function llama70B(layers = 80): ModelShapes {
  const config = {
    architectures: ['LlamaForCausalLM'],
    ...{ model_type: 'llama', hidden_act: 'silu', torch_dtype: 'bfloat16', tie_word_embeddings: false },
    ...{ hidden_size: 8192, intermediate_size: 28672, num_hidden_layers: layers, vocab_size: 128256 },
    ...{ num_attention_heads: 64, num_key_value_heads: 8, max_position_embeddings: 8192 },
    ...{ rms_norm_eps: 1e-5, rope_theta: 500000, attention_bias: false, mlp_bias: false },
  };
  const linears = { ...attention(8192, 64, 8, 128), ...mlp('mlp', 8192, 28672) };
  return modelShapes(`llama-70b-${layers}-layers`, config, { linears, vectors: norms(8192) });
}

/** Qwen3 30B-A3B: 128 experts a layer, 48 layers; config.json of the model. */
export function qwen3Experts(layers = 48): ModelShapes {
  const config = {
    architectures: ['Qwen3MoeForCausalLM'],
    ...{ model_type: 'qwen3_moe', hidden_act: 'silu', torch_dtype: 'bfloat16', tie_word_embeddings: false },
    ...{ hidden_size: 2048, intermediate_size: 6144, num_hidden_layers: layers, vocab_size: 151936, head_dim: 128 },
    ...{ num_attention_heads: 32, num_key_value_heads: 4, max_position_embeddings: 40960 },
    ...{ num_experts: 128, num_experts_per_tok: 8, moe_intermediate_size: 768, norm_topk_prob: true },
    ...{ rms_norm_eps: 1e-6, rope_theta: 1000000, attention_bias: false, decoder_sparse_step: 1, mlp_only_layers: [] },
  };
  const experts = Array.from({ length: 128 }, (_, expert) => mlp(`mlp.experts.${expert}`, 2048, 768));
  const linears = Object.assign({ ...attention(2048, 32, 4, 128), 'mlp.gate': [128, 2048] }, ...experts);
  const vectors = { ...norms(2048), 'self_attn.q_norm': 128, 'self_attn.k_norm': 128 };
  return modelShapes(`qwen3-moe-128-experts-${layers}-layers`, config, { linears, vectors });
}

/** Writes a model directory whose weight file has its full size and no content: holes, which take no disk. The tokenizer is the demo model's. */
export async function writeHollowModel({ config, tensors }: ModelShapes, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const demo = await openModelDirectory(resolveModelDirectory('demo'));
  for (const file of demo.companions) copyFileSync(join(demo.directory, file), join(directory, file));
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  const header: Record<string, { dtype: string; shape: readonly number[]; data_offsets: readonly [number, number] }> =
    {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const begin = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'BF16', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(join(directory, 'model.safetensors'), 'w');
  writeSync(file, length);
  writeSync(file, json);
  ftruncateSync(file, 8 + json.length + end);
  closeSync(file);
}
