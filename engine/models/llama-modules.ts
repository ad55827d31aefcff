import type { BranchTable, DecoderTable, LinearEntry } from './decoder-table';

type Bias = LinearEntry['bias'];

/** What Llama's descendants differ in. */
export interface LlamaVariation {
  /** Default: SiLU. */
  readonly mlp?: 'gated-silu' | 'gated-gelu-tanh';
  /** Norms behind the branches too, as Gemma 2 and 3 call them. Default: only before. */
  readonly outputNorms?: true;
  /** Biases of q, k and v; of o; of gate, up and down. */
  readonly bias: { readonly inputs: Bias; readonly output: Bias; readonly mlp: Bias };
  /** Norms on the heads of queries and keys. */
  readonly innerNorms?: BranchTable['innerNorms'];
}

/** The modules of Llama's layers, which its descendants have under the same names. */
export function llamaModules({
  bias,
  innerNorms,
  outputNorms,
  mlp = 'gated-silu',
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
      ...(outputNorms && { outputNorm: 'post_attention_layernorm' }),
    },
    mlp: {
      norm: outputNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm',
      inputs: [
        { role: 'gate', module: 'mlp.gate_proj', bias: bias.mlp },
        { role: 'up', module: 'mlp.up_proj', bias: bias.mlp },
      ],
      operator: mlp,
      output: { role: 'down', module: 'mlp.down_proj', bias: bias.mlp },
      ...(outputNorms && { outputNorm: 'post_feedforward_layernorm' }),
    },
    // The gain of a norm behind a linear stays in the basis that it is in.
    rotatable: outputNorms === undefined,
  };
}
