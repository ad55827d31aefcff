import { float32, uint32 } from '../container/gguf-value';
import { llamaLike } from './gguf-architecture';

/** GPT-2: layer norms, learned positions, q, k and v in one matrix. */
export const ggufGpt2 = llamaLike({
  name: 'gpt2',
  prefix: 'transformer.',
  transposed: /\.(c_attn|c_proj|c_fc)$/,
  modules: {
    'transformer.wte': 'token_embd',
    'transformer.wpe': 'position_embd',
    'transformer.h.{n}.ln_1': 'blk.{n}.attn_norm',
    'transformer.h.{n}.attn.c_attn': 'blk.{n}.attn_qkv',
    'transformer.h.{n}.attn.c_proj': 'blk.{n}.attn_output',
    'transformer.h.{n}.ln_2': 'blk.{n}.ffn_norm',
    'transformer.h.{n}.mlp.c_fc': 'blk.{n}.ffn_up',
    'transformer.h.{n}.mlp.c_proj': 'blk.{n}.ffn_down',
    'transformer.ln_f': 'output_norm',
    lm_head: 'output',
  },
  metadata: (shape) =>
    new Map([
      ['gpt2.block_count', uint32(shape.layers)],
      ['gpt2.context_length', uint32(shape.maxPositions)],
      ['gpt2.embedding_length', uint32(shape.hiddenSize)],
      ['gpt2.feed_forward_length', uint32(shape.intermediateSize)],
      ['gpt2.attention.head_count', uint32(shape.heads)],
      ['gpt2.attention.layer_norm_epsilon', float32(shape.normEpsilon)],
    ]),
  config: {
    modelClass: 'GPT2LMHeadModel',
    fields: {
      n_embd: 'embedding_length',
      n_inner: 'feed_forward_length',
      n_layer: 'block_count',
      n_head: 'attention.head_count',
      n_positions: 'context_length',
      layer_norm_epsilon: 'attention.layer_norm_epsilon',
    },
    always: { activation_function: 'gelu_new' },
  },
});
