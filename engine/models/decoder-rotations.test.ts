import type { TensorRotation } from './architecture';
import { llama } from './llama';

const CONFIG = {
  hidden_size: 96,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 24,
  vocab_size: 64,
};

describe('rotations of a Llama', () => {
  const shape = llama.shape(CONFIG);
  const hidden = { size: 96, seed: 0 };

  it('turn the hidden state everywhere by one basis, and what v hands to o by one of the layer', () => {
    const rotations = llama.rotations(shape, () => false) as ReadonlyMap<string, TensorRotation>;
    const layer = (name: string) => rotations.get(`model.layers.1.${name}.weight`);
    const heads = { size: 24, seed: 2 };
    const inputNorm = 'model.layers.1.input_layernorm.weight';
    const postNorm = 'model.layers.1.post_attention_layernorm.weight';
    expect(layer('self_attn.q_proj')).toEqual({ gain: inputNorm, columns: hidden });
    expect(layer('self_attn.k_proj')).toEqual({ gain: inputNorm, columns: hidden });
    expect(layer('self_attn.v_proj')).toEqual({ gain: inputNorm, columns: hidden, rows: heads });
    expect(layer('self_attn.o_proj')).toEqual({ columns: heads, rows: hidden });
    expect(layer('mlp.gate_proj')).toEqual({ gain: postNorm, columns: hidden });
    expect(layer('mlp.up_proj')).toEqual({ gain: postNorm, columns: hidden });
    expect(layer('mlp.down_proj')).toEqual({ rows: hidden });
    expect(rotations.get(inputNorm)).toEqual({ ones: true });
    expect(rotations.get(postNorm)).toEqual({ ones: true });
    expect(rotations.get('model.embed_tokens.weight')).toEqual({ columns: hidden });
    expect(rotations.get('lm_head.weight')).toEqual({ columns: hidden, gain: 'model.norm.weight' });
    expect(rotations.get('model.norm.weight')).toEqual({ ones: true });
    expect(rotations.size).toBe(2 * 9 + 3);
  });

  it('turn the biases that add to what is turned', () => {
    const rotations = llama.rotations(shape, () => true) as ReadonlyMap<string, TensorRotation>;
    const bias = (name: string) => rotations.get(`model.layers.0.${name}.bias`);
    expect(bias('self_attn.v_proj')).toEqual({ rows: { size: 24, seed: 1 } });
    expect(bias('self_attn.o_proj')).toEqual({ rows: hidden });
    expect(bias('mlp.down_proj')).toEqual({ rows: hidden });
    for (const name of ['self_attn.q_proj', 'self_attn.k_proj', 'mlp.gate_proj', 'mlp.up_proj']) {
      expect(bias(name)).toBeUndefined();
    }
  });
});
