import { llama } from './llama';
import { residualEnd } from './residual-end';

const config = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 96,
  max_position_embeddings: 64,
};
const blocks = llama.blocks(llama.shape(config), () => false);

test('a residual branch ends with o_proj, and with down_proj in the block after it', () => {
  const ends = blocks.flatMap(({ stages }, block) =>
    stages.flatMap(({ name }) => {
      const end = residualEnd(blocks, block, name);
      return end ? [[name, end.linear.name, end.input, end.appliedBy]] : [];
    }),
  );
  expect(ends).toEqual([
    ['attention', 'model.layers.0.self_attn.o_proj', 'context', { block: 0, stage: 'mlp-input' }],
    ['mlp', 'model.layers.0.mlp.down_proj', 'product', { block: 1, stage: 'attention-input' }],
    ['attention', 'model.layers.1.self_attn.o_proj', 'context', { block: 1, stage: 'mlp-input' }],
    ['mlp', 'model.layers.1.mlp.down_proj', 'product', { block: 2, stage: 'head-input' }],
  ]);
});
