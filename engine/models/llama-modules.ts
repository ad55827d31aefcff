import type { BranchTable, DecoderTable, LinearEntry } from './decoder-table';

type Bias = LinearEntry['bias'];

/** What Llama's descendants differ in. */
export interface LlamaVariation {
  /** Biases of q, k and v; of o; of gate, up and down. */
  readonly bias: { readonly inputs: Bias; readonly output: Bias; readonly mlp: Bias };
  /** Norms on the heads of queries and keys. */
  readonly innerNorms?: BranchTable['innerNorms'];
}

/** The modules of Llama's layers, which its descendants have under the same names. */
export function llamaModules({
  bias,
  innerNorms,
}: LlamaVariation): Omit<DecoderTable, 'name' | 'modelClass' | 'modelType' | 'config'> {
  return {
    embedding: 'model.embed_tokens',
    positions: null,
    layers: 'model.layers',
    finalNorm: 'model.norm',
    head: 'lm_head',
    norm: 'rms-norm',
    attention: {
      norm: 'input_layernorm',
      inputs: [
        { role: 'q', module: 'self_attn.q_proj', bias: bias.inputs },
        { role: 'k', module: 'self_attn.k_proj', bias: bias.inputs },
        { role: 'v', module: 'self_attn.v_proj', bias: bias.inputs },
      ],
      operator: 'attention',
      ...(innerNorms && { innerNorms }),
      output: { role: 'o', module: 'self_attn.o_proj', bias: bias.output },
    },
    mlp: {
      norm: 'post_attention_layernorm',
      inputs: [
        { role: 'gate', module: 'mlp.gate_proj', bias: bias.mlp },
        { role: 'up', module: 'mlp.up_proj', bias: bias.mlp },
      ],
      operator: 'gated-silu',
      output: { role: 'down', module: 'mlp.down_proj', bias: bias.mlp },
    },
    rotatable: true,
  };
}
