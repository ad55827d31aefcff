import { TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { ARCHITECTURES, architectureNamed, architectureOf } from './architecture-of';
import { gpt2 } from './gpt2';
import { mistral } from './mistral';
import { qwen2 } from './qwen2';
import { qwen3 } from './qwen3';

const SIZES = {
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 100,
};

describe('the registry', () => {
  it.each(ARCHITECTURES.map((architecture) => [architecture.name, architecture] as const))(
    'finds %s by its class and its name',
    (name, architecture) => {
      expect(architectureOf({ architectures: [architecture.modelClass] })).toBe(architecture);
      expect(architectureNamed(name)).toBe(architecture);
    },
  );

  it('refuses a name that it does not have', () => {
    expect(() => architectureNamed('mamba')).toThrow(/no architecture "mamba".*llama, mistral, qwen2, qwen3, gpt2/);
  });

  it.each(TINY_MODELS)('knows every tensor of a real file, with its shape: %s', async (name) => {
    const checkpoint = await openCheckpoint(tinyModelDirectory(name));
    const architecture = architectureOf(checkpoint.config, checkpoint.has);
    const shape = architecture.shape(checkpoint.config);
    const blocks = architecture.blocks(shape, checkpoint.has);
    const tensors = [...architecture.outside(shape), ...blocks.flatMap((block) => [...block.tensors])];
    const stored = checkpoint.names().filter((tensor) => !architecture.buffers?.test(tensor));
    expect(tensors.map(([tensor]) => tensor).sort()).toEqual(stored);
    for (const [tensor, size] of tensors) expect([tensor, await checkpoint.shape(tensor)]).toEqual([tensor, size]);
  });

  it.each(TINY_MODELS)('has stages that leave what the next one reads: %s', async (name) => {
    const checkpoint = await openCheckpoint(tinyModelDirectory(name));
    const architecture = architectureOf(checkpoint.config, checkpoint.has);
    const blocks = architecture.blocks(architecture.shape(checkpoint.config), checkpoint.has);
    const stages = blocks.flatMap((block) => block.stages);
    stages.forEach((stage, i) => {
      expect(architecture.operators[stage.name]).toBeDefined();
      expect(stages[i + 1]?.reads ?? stage.leaves).toEqual(stage.leaves);
      expect(stages[i + 1]?.applies ?? stage.captures).toEqual(stage.captures);
    });
  });
});

describe('defaults of config.json are those of transformers', () => {
  it('for Mistral', () => {
    const { num_key_value_heads: _, ...config } = { ...SIZES, num_attention_heads: 16 };
    expect(mistral.shape(config)).toMatchObject({
      keyValueHeads: 8,
      headSize: 4,
      maxPositions: 131072,
      rotary: { theta: 10000, llama3: null },
      tiedHead: false,
      sequenceLimit: { tokens: 4096, field: 'sliding_window' },
    });
  });

  it('for Qwen2 and Qwen3', () => {
    const { num_key_value_heads: _, ...config } = { ...SIZES, num_attention_heads: 32 };
    expect(qwen2.shape(config)).toMatchObject({ keyValueHeads: 32, headSize: 2, maxPositions: 32768 });
    expect(qwen3.shape(config)).toMatchObject({ keyValueHeads: 32, headSize: 128, maxPositions: 32768 });
    expect(qwen2.shape(config)).not.toHaveProperty('sequenceLimit');
  });

  it('for GPT-2', () => {
    expect(gpt2.shape({})).toEqual({
      layers: 12,
      hiddenSize: 768,
      intermediateSize: 3072,
      heads: 12,
      keyValueHeads: 12,
      headSize: 64,
      vocabularySize: 50257,
      maxPositions: 1024,
      normEpsilon: 1e-5,
      rotary: null,
      tiedHead: true,
      sequenceLimit: { tokens: 1024, field: 'n_positions' },
    });
  });
});

describe('a sliding window', () => {
  it.each([
    [mistral, { sliding_window: null }, undefined],
    [mistral, { sliding_window: 512 }, 512],
    [qwen2, { sliding_window: 512 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: false, max_window_layers: 0 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: true, max_window_layers: 4 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: true, max_window_layers: 3 }, 512],
    [qwen2, { use_sliding_window: true }, undefined],
    [qwen2, { use_sliding_window: true, num_hidden_layers: 29 }, 4096],
    [qwen3, { sliding_window: 8, use_sliding_window: true, layer_types: ['full_attention'] }, undefined],
    [qwen3, { sliding_window: 8, use_sliding_window: true, layer_types: ['sliding_attention'] }, 8],
  ])('bounds sequences where a layer has one: %#', (architecture, fields, limit) => {
    expect(architecture.shape({ ...SIZES, ...fields }).sequenceLimit?.tokens).toBe(limit);
  });

  it('that makes no sense is refused', () => {
    expect(() => mistral.shape({ ...SIZES, sliding_window: 0 })).toThrow(/sliding_window is 0; expected a positive/);
  });
});

describe('what is not computed is refused by name', () => {
  it.each([
    [mistral, { hidden_act: 'gelu' }, /hidden_act = "gelu".*mistral architecture/],
    [qwen2, { rope_scaling: { type: 'yarn', factor: 4 } }, /rope type "yarn".*qwen2 architecture/],
    [qwen2, { layer_types: ['linear_attention'] }, /layers of the type "linear_attention"/],
    [qwen3, { num_experts: 8 }, /mixture of experts/],
    [gpt2, { activation_function: 'relu' }, /activation_function = "relu".*Supported: .*gelu_new/],
    [gpt2, { scale_attn_weights: false }, /scale_attn_weights = false/],
    [gpt2, { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx = true/],
    [gpt2, { add_cross_attention: true }, /cross-attention/],
  ])('%#', (architecture, fields, message) => {
    expect(() => architecture.shape({ ...SIZES, ...fields })).toThrow(
      expect.objectContaining({ code: 'UnsupportedArchitecture', message: expect.stringMatching(message) }),
    );
  });

  it('and fields that do not fit together', () => {
    expect(() => gpt2.shape({ n_head: 5 })).toThrow(/n_head is 5; expected a divisor of 768/);
  });
});

describe('GPT-2', () => {
  it('goes by the names of the files, and publishes those of transformers', () => {
    const config = { architectures: ['GPT2LMHeadModel'] };
    expect(architectureOf(config, (name) => name === 'transformer.wte.weight')).toBe(gpt2);
    const bare = architectureOf(config, (name) => name === 'wte.weight');
    expect([bare.embedding, bare.positions, bare.finalNorm, bare.head]).toEqual([
      'wte.weight',
      'wpe.weight',
      'ln_f.weight',
      'lm_head.weight',
    ]);
    expect(bare.blocks(bare.shape(config), () => false)[3]?.name).toBe('h.3');
    expect(bare.publishedName('h.3.ln_1.bias')).toBe('transformer.h.3.ln_1.bias');
    expect(bare.publishedName('lm_head.weight')).toBe('lm_head.weight');
  });

  it('keeps its biases, not its causal masks', () => {
    const isBuffer = (name: string) => gpt2.buffers?.test(name);
    expect(['h.0.attn.bias', 'transformer.h.11.attn.masked_bias'].map(isBuffer)).toEqual([true, true]);
    expect(['h.0.attn.c_attn.bias', 'h.0.ln_1.bias'].map(isBuffer)).toEqual([false, false]);
  });

  it('is not rotated', () => {
    expect(gpt2.rotations(gpt2.shape({}), () => true)).toBeNull();
  });
});
