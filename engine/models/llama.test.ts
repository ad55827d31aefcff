import { join } from 'node:path';
import { TINY_LLAMAS, tinyLlamaDirectory } from '../../test/tiny-llamas';
import { openCheckpoint } from '../checkpoints';
import { architectureOf } from './architecture-of';
import { llama } from './llama';

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 2,
  num_attention_heads: 8,
  vocab_size: 100,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
};
const LLAMA3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

describe('shape of a llama', () => {
  it('fills what config.json may leave out as transformers does', () => {
    const { rope_theta: _, rms_norm_eps: __, ...bare } = CONFIG;
    expect(llama.shape(bare)).toEqual({
      layers: 2,
      hiddenSize: 64,
      intermediateSize: 160,
      heads: 8,
      keyValueHeads: 8,
      headSize: 8,
      vocabularySize: 100,
      maxPositions: 2048,
      normEpsilon: 1e-6,
      rotary: { theta: 10000, llama3: null },
      tiedHead: false,
    });
  });

  it('reads both spellings of rotary scaling alike', () => {
    const old = llama.shape({ ...CONFIG, rope_scaling: { rope_type: 'llama3', ...LLAMA3 } });
    const { rope_theta, ...rest } = CONFIG;
    const now = llama.shape({ ...rest, rope_parameters: { rope_type: 'llama3', rope_theta, ...LLAMA3 } });
    expect(old.rotary).toEqual({
      theta: 500000,
      llama3: { factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 },
    });
    expect(now.rotary).toEqual(old.rotary);
  });

  it.each([
    [{ rope_scaling: { type: 'linear', factor: 2 } }, /rope type "linear".*Supported: default, llama3/],
    [{ rope_parameters: { rope_type: 'yarn', rope_theta: 1e4 } }, /rope type "yarn"/],
    [{ rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } }, /partial rotary/],
    [{ hidden_act: 'gelu' }, /hidden_act = "gelu"/],
    [{ sliding_window: 4096 }, /sliding_window = 4096/],
    [{ pretraining_tp: 2 }, /pretraining_tp = 2/],
    [{ num_local_experts: 8 }, /mixture of experts/],
  ])('refuses a feature that it does not compute: %j', (fields, message) => {
    expect(() => llama.shape({ ...CONFIG, ...fields })).toThrow(
      expect.objectContaining({ code: 'UnsupportedArchitecture', message: expect.stringMatching(message) }),
    );
  });

  it.each([
    [{ hidden_size: undefined }, /hidden_size is missing/],
    [{ num_hidden_layers: '2' }, /num_hidden_layers is "2"/],
    [{ vocab_size: 0 }, /vocab_size is 0/],
    [{ num_key_value_heads: 3 }, /num_key_value_heads is 3/],
    [{ head_dim: 7 }, /head_dim is 7/],
    [{ hidden_size: 60 }, /head_dim is 7.5/],
    [{ rms_norm_eps: -1 }, /rms_norm_eps is -1/],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8 } }, /rope_scaling.low_freq_factor is missing/],
  ])('names a field that makes no sense: %j', (fields, message) => {
    expect(() => llama.shape({ ...CONFIG, ...fields })).toThrow(
      expect.objectContaining({ code: 'InvalidModel', message: expect.stringMatching(message) }),
    );
  });
});

describe('blocks of a llama', () => {
  const directories = [...TINY_LLAMAS.map(tinyLlamaDirectory), join(__dirname, '../../assets/demo-model')];

  it.each(directories)('name every tensor of a real file, with its shape: %s', async (directory) => {
    const checkpoint = await openCheckpoint(directory);
    const blocks = llama.blocks(llama.shape(checkpoint.config), (name) => checkpoint.has(name));
    const owned = blocks.flatMap(({ tensors }) => [...tensors.keys()]);
    expect([...owned, llama.embedding, llama.finalNorm].sort()).toEqual(checkpoint.names());
    for (const { tensors } of blocks) {
      for (const [name, shape] of tensors) expect([name, await checkpoint.shape(name)]).toEqual([name, shape]);
    }
  });

  it('apply each linear once, in the stage after the one that captured its input', () => {
    const blocks = llama.blocks(llama.shape(CONFIG), () => false);
    const stages = blocks.flatMap((block) => block.stages);
    stages.forEach((stage, i) => {
      const names = stage.captures.map(({ name }) => name);
      expect(stages[i + 1]?.applies.map(({ name }) => name) ?? ['lm_head']).toEqual(names);
    });
    expect(blocks.map(({ name }) => name)).toEqual(['model.layers.0', 'model.layers.1', 'lm_head']);
  });

  it('leave what the next stage reads', () => {
    const stages = llama.blocks(llama.shape(CONFIG), () => false).flatMap((block) => block.stages);
    stages.slice(1).forEach((stage, i) => {
      expect(stages[i]?.leaves).toEqual(stage.reads);
    });
  });
});

describe('architectureOf', () => {
  it('finds llama by its class, or by model_type where there is no class', () => {
    expect(architectureOf(CONFIG)).toBe(llama);
    expect(architectureOf({ model_type: 'llama' })).toBe(llama);
  });

  it.each([
    [{ architectures: ['MambaForCausalLM'], model_type: 'mamba' }],
    [{ architectures: ['LlamaForSequenceClassification'], model_type: 'llama' }],
    [{}],
  ])('says what it found and what there is: %j', (config) => {
    expect(() => architectureOf(config)).toThrow(
      expect.objectContaining({
        code: 'UnsupportedArchitecture',
        message: expect.stringMatching(/describes .*Supported/),
      }),
    );
  });
});
