import type { Stage } from './architecture';
import { calibratingStage, capturedInputs, inputsByLinear } from './captured-inputs';
import { llama } from './llama';
import { qwen2Moe } from './qwen2-moe';

const CONFIG = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  vocab_size: 100,
  num_experts: 3,
  num_experts_per_tok: 2,
  moe_intermediate_size: 32,
  shared_expert_intermediate_size: 48,
};

function stage(name: string): Stage {
  const block = qwen2Moe.blocks(qwen2Moe.shape(CONFIG), () => false)[0];
  return block?.stages.find((candidate) => candidate.name === name) as Stage;
}

const outlined = (captured: Stage) =>
  capturedInputs(captured).map(({ expert, columns, linears }) => [expert, columns, linears.length]);

describe('the inputs that a stage captures', () => {
  it('are one where linears share it', () => {
    const { num_experts: _, ...dense } = CONFIG;
    const attention = llama.blocks(llama.shape(dense), () => false)[0]?.stages[0] as Stage;
    expect(outlined(attention)).toEqual([[null, 64, 3]]);
    expect(inputsByLinear(attention)).toBeNull();
  });

  it('are one per expert, and one of the expert that every token passes', () => {
    expect(outlined(stage('experts-input'))).toEqual([
      [0, 64, 2],
      [1, 64, 2],
      [2, 64, 2],
      [null, 64, 2],
    ]);
    expect(outlined(stage('experts'))).toEqual([
      [0, 32, 1],
      [1, 32, 1],
      [2, 32, 1],
      [null, 48, 1],
    ]);
    expect(inputsByLinear(stage('experts'))?.get('model.layers.0.mlp.experts.2.down_proj')).toBe(2);
  });

  it('of experts are the one hidden state where every token counts; their products are not', () => {
    const all = (name: string) => calibratingStage(stage(name), { allExperts: true });
    expect(outlined(all('experts-input'))).toEqual([[null, 64, 8]]);
    expect(outlined(all('experts'))).toHaveLength(4);
    expect(calibratingStage(stage('attention'), { allExperts: true })).toEqual(stage('attention'));
  });
});
