import { unsupported } from './config-fields';
import { decoderArchitecture } from './decoder-architecture';

/** OPT (Zhang et al. 2022, arXiv 2205.01068): layer norms, learned positions that begin with the third row, biases, ReLU. */
export const opt = decoderArchitecture({
  name: 'opt',
  modelClass: 'OPTForCausalLM',
  modelType: 'opt',
  // Some files have the names of the bare model.
  prefix: 'model.',
  embedding: 'model.decoder.embed_tokens',
  positions: 'model.decoder.embed_positions',
  layers: 'model.decoder.layers',
  finalNorm: 'model.decoder.final_layer_norm',
  head: 'lm_head',
  norm: 'layer-norm',
  attention: {
    norm: 'self_attn_layer_norm',
    inputs: [
      { role: 'q', module: 'self_attn.q_proj', bias: 'stored' },
      { role: 'k', module: 'self_attn.k_proj', bias: 'stored' },
      { role: 'v', module: 'self_attn.v_proj', bias: 'stored' },
    ],
    operator: 'attention',
    output: { role: 'o', module: 'self_attn.out_proj', bias: 'stored' },
  },
  mlp: {
    norm: 'final_layer_norm',
    inputs: [{ role: 'up', module: 'fc1', bias: 'stored' }],
    operator: 'relu',
    output: { role: 'down', module: 'fc2', bias: 'stored' },
  },
  config: {
    layers: { field: 'num_hidden_layers', otherwise: 12 },
    hiddenSize: { field: 'hidden_size', otherwise: 768 },
    intermediateSize: { field: 'ffn_dim', otherwise: 3072 },
    heads: { field: 'num_attention_heads', otherwise: 12 },
    keyValueHeads: null,
    headSize: null,
    vocabularySize: { field: 'vocab_size', otherwise: 50272 },
    maxPositions: { field: 'max_position_embeddings', otherwise: 2048 },
    normEpsilon: 1e-5,
    tiedHead: true,
    rotary: false,
    sequenceLimit: (_, { maxPositions }) => ({ tokens: maxPositions, field: 'max_position_embeddings' }),
    extras({ word_embed_proj_dim: width }, { hiddenSize }) {
      if (width === undefined || width === null || width === hiddenSize) return { positionOffset: 2 };
      const found = `an embedding of another width than the hidden state (config.json: word_embed_proj_dim = ${JSON.stringify(width)})`;
      throw unsupported(found, `word_embed_proj_dim = hidden_size (${hiddenSize})`, 'opt');
    },
    refused: [
      // OPT 350m has norms behind; Galactica another activation function, and norms without parameters.
      { field: 'do_layer_norm_before', harmless: [true], feature: 'norms behind the branches' },
      { field: '_remove_final_layer_norm', harmless: [false], feature: 'no norm before the head' },
      { field: 'activation_function', harmless: ['relu'], feature: 'the activation function' },
      { field: 'layer_norm_elementwise_affine', harmless: [true], feature: 'layer norms without gain and bias' },
    ],
  },
  // A layer norm subtracts the mean, which no rotation of the hidden state leaves in place.
  rotatable: false,
});
