import { decoderArchitecture } from './decoder-architecture';

/** GPT-2 (Radford et al. 2019): layer norms, learned positions, q, k and v in one matrix, GELU; weights stored as `[columns, rows]`. */
export const gpt2 = decoderArchitecture({
  name: 'gpt2',
  modelClass: 'GPT2LMHeadModel',
  modelType: 'gpt2',
  // The first releases, and many since, have the names of the bare model.
  prefix: 'transformer.',
  embedding: 'transformer.wte',
  positions: 'transformer.wpe',
  layers: 'transformer.h',
  finalNorm: 'transformer.ln_f',
  head: 'lm_head',
  norm: 'layer-norm',
  attention: {
    norm: 'ln_1',
    inputs: [{ role: 'qkv', module: 'attn.c_attn', bias: 'always', transposed: true }],
    operator: 'attention',
    output: { role: 'o', module: 'attn.c_proj', bias: 'always', transposed: true },
  },
  mlp: {
    norm: 'ln_2',
    inputs: [{ role: 'up', module: 'mlp.c_fc', bias: 'always', transposed: true }],
    operator: 'gelu-tanh',
    output: { role: 'down', module: 'mlp.c_proj', bias: 'always', transposed: true },
  },
  config: {
    layers: { field: 'n_layer', otherwise: 12 },
    hiddenSize: { field: 'n_embd', otherwise: 768 },
    intermediateSize: { field: 'n_inner', otherwise: ({ hiddenSize }) => 4 * hiddenSize },
    heads: { field: 'n_head', otherwise: 12 },
    keyValueHeads: null,
    headSize: null,
    vocabularySize: { field: 'vocab_size', otherwise: 50257 },
    maxPositions: { field: 'n_positions', otherwise: 1024 },
    normEpsilon: { field: 'layer_norm_epsilon', otherwise: 1e-5 },
    tiedHead: true,
    rotary: false,
    sequenceLimit: (_, { maxPositions }) => ({ tokens: maxPositions, field: 'n_positions' }),
    refused: [
      {
        field: 'activation_function',
        harmless: ['gelu_new', 'gelu_pytorch_tanh'],
        feature: 'the activation function',
      },
      { field: 'scale_attn_weights', harmless: [true], feature: 'unscaled attention' },
      { field: 'scale_attn_by_inverse_layer_idx', harmless: [false], feature: 'attention scaled by layer' },
      { field: 'add_cross_attention', harmless: [false], feature: 'cross-attention' },
    ],
  },
  // A layer norm subtracts the mean, which no rotation of the hidden state leaves in place.
  rotatable: false,
  // Causal masks.
  buffers: /(^|\.)h\.\d+\.attn\.(masked_)?bias$/,
});
