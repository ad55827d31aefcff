import { TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { ARCHITECTURES, architectureNamed, architectureOf } from './architecture-of';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { gpt2 } from './gpt2';
import { mistral } from './mistral';
import { mixtral } from './mixtral';
import { opt } from './opt';
import { phi3 } from './phi3';
import { qwen2 } from './qwen2';
import { qwen2Moe } from './qwen2-moe';
import { qwen3 } from './qwen3';
import { qwen3Moe } from './qwen3-moe';

const SIZES = {
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 100,
};

const TYPES = ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention'];

describe('the registry', () => {
  it.each(ARCHITECTURES.map((architecture) => [architecture.name, architecture] as const))(
    'finds %s by its class and its name',
    (name, architecture) => {
      expect(architectureOf({ architectures: [architecture.modelClass] })).toBe(architecture);
      expect(architectureNamed(name)).toBe(architecture);
    },
  );

  it('refuses a name that it does not have', () => {
    expect(() => architectureNamed('mamba')).toThrow(
      /no architecture "mamba".*llama, mistral, qwen2, qwen3, gpt2, opt, gemma2, gemma3, phi3, mixtral, qwen2_moe, qwen3_moe/,
    );
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
      attention: Array(4).fill({ window: 4096, rotary: { theta: 10000, llama3: null } }),
    });
  });

  it('for Qwen2 and Qwen3', () => {
    const { num_key_value_heads: _, ...config } = { ...SIZES, num_attention_heads: 32 };
    expect(qwen2.shape(config)).toMatchObject({ keyValueHeads: 32, headSize: 2, maxPositions: 32768 });
    expect(qwen3.shape(config)).toMatchObject({ keyValueHeads: 32, headSize: 128, maxPositions: 32768 });
    expect(qwen2.shape(config)).not.toHaveProperty('attention');
  });

  it('leave Qwen 1.5 to be a Qwen2 with full attention', () => {
    // config.json of Qwen1.5-0.5B.
    const config = {
      ...{ architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', hidden_act: 'silu', hidden_size: 1024 },
      ...{ intermediate_size: 2816, max_position_embeddings: 32768, max_window_layers: 21, num_attention_heads: 16 },
      ...{
        num_hidden_layers: 24,
        num_key_value_heads: 16,
        rms_norm_eps: 1e-6,
        rope_theta: 1000000,
        vocab_size: 151936,
      },
      ...{ sliding_window: 32768, tie_word_embeddings: true, use_sliding_window: false },
    };
    const architecture = architectureOf(config);
    const shape = architecture.shape(config);
    expect(architecture.name).toBe('qwen2');
    expect(shape).toMatchObject({ headSize: 64, keyValueHeads: 16, tiedHead: true, rotary: { theta: 1e6 } });
    expect(shape).not.toHaveProperty('attention');
    const q = architecture.blocks(shape, () => true)[0]?.stages[0]?.captures[0];
    expect(q).toMatchObject({ name: 'model.layers.0.self_attn.q_proj', bias: true });
  });

  it('for Gemma 2 and 3', () => {
    const { num_key_value_heads: _, ...config } = { ...SIZES, num_hidden_layers: 7 };
    const extras = {
      scoreScale: 1 / 16,
      embeddingScale: 8,
      gainOffset: 1,
      tiedHead: true,
      headSize: 256,
      keyValueHeads: 4,
    };
    const found = gemma2.shape(config);
    expect(found).toMatchObject({ ...extras, scoreCap: 50, logitCap: 30, maxPositions: 8192 });
    expect(found.attention?.map(({ window }) => window)).toEqual([4096, null, 4096, null, 4096, null, 4096]);
    const third = gemma3.shape(config);
    expect(third).toMatchObject({ ...extras, maxPositions: 131072, rotary: { theta: 1e6, llama3: null } });
    expect([third.scoreCap, third.logitCap]).toEqual([undefined, undefined]);
    const local = { window: 4096, rotary: { theta: 1e4, llama3: null } };
    expect(third.attention).toEqual([local, local, local, local, local, { window: null, rotary: third.rotary }, local]);
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

  it('for OPT', () => {
    expect(opt.shape({})).toEqual({
      layers: 12,
      hiddenSize: 768,
      intermediateSize: 3072,
      heads: 12,
      keyValueHeads: 12,
      headSize: 64,
      vocabularySize: 50272,
      maxPositions: 2048,
      positionOffset: 2,
      normEpsilon: 1e-5,
      rotary: null,
      tiedHead: true,
      sequenceLimit: { tokens: 2048, field: 'max_position_embeddings' },
    });
  });
});

describe('a mixture of experts', () => {
  it('has the defaults of transformers', () => {
    const experts = { sharedIntermediateSize: 0, normalized: false, layers: Array(4).fill(true) };
    expect(mixtral.shape(SIZES)).toMatchObject({
      normEpsilon: 1e-5,
      experts: { ...experts, count: 8, perToken: 2, intermediateSize: 160, normalized: true },
    });
    const own = { count: 60, perToken: 4, intermediateSize: 1408, sharedIntermediateSize: 5632 };
    expect(qwen2Moe.shape(SIZES).experts).toEqual({ ...experts, ...own });
    expect(qwen3Moe.shape(SIZES).experts).toEqual({ ...experts, count: 128, perToken: 8, intermediateSize: 768 });
  });

  it.each([
    [{ decoder_sparse_step: 2 }, [false, true, false, true]],
    [{ mlp_only_layers: [0, 3] }, [false, true, true, false]],
    [{ decoder_sparse_step: 3, mlp_only_layers: [2] }, [false, false, false, false]],
  ])('is in the layers that %j leaves it', (fields, layers) => {
    const shape = qwen3Moe.shape({ ...SIZES, ...fields });
    expect(shape.experts?.layers).toEqual(layers);
    const names = qwen3Moe.blocks(shape, () => false).map(({ stages }) => stages.at(-1)?.name);
    expect(names).toEqual([...layers.map((sparse) => (sparse ? 'experts' : 'mlp')), 'head-input']);
  });

  it('reads both names of their number, and refuses what makes no sense', () => {
    expect(qwen3Moe.shape({ ...SIZES, num_local_experts: 16 }).experts?.count).toBe(16);
    expect(qwen3Moe.shape({ ...SIZES, num_experts: 16 }).experts?.count).toBe(16);
    expect(() => mixtral.shape({ ...SIZES, num_local_experts: 1 })).toThrow(
      /num_experts_per_tok is 2; expected at most/,
    );
    expect(() => qwen2Moe.shape({ ...SIZES, num_experts: 1e9 })).toThrow(/num_experts is 1000000000; expected at most/);
  });

  it('slides as transformers lets it', () => {
    const fields = { ...SIZES, use_sliding_window: true, sliding_window: 8, max_window_layers: 3 };
    expect(qwen2Moe.shape(fields).attention?.map(({ window }) => window)).toEqual([8, null, 8, null]);
    expect(qwen3Moe.shape(fields).attention?.map(({ window }) => window)).toEqual([8, 8, 8, 8]);
    expect(mixtral.shape({ ...fields, sliding_window: undefined }).attention).toBeUndefined();
  });
});

describe('a sliding window', () => {
  it.each([
    [mistral, { sliding_window: null }, undefined],
    [mistral, { sliding_window: 512 }, [512, 512, 512, 512]],
    [qwen2, { sliding_window: 512 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: false, max_window_layers: 0 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: true, max_window_layers: 4 }, undefined],
    [qwen2, { sliding_window: 512, use_sliding_window: true, max_window_layers: 3 }, [null, null, null, 512]],
    [qwen2, { use_sliding_window: true }, undefined],
    [qwen2, { use_sliding_window: true, num_hidden_layers: 29 }, [...Array(28).fill(null), 4096]],
    [qwen3, { sliding_window: 8, use_sliding_window: true, layer_types: Array(4).fill('full_attention') }, undefined],
    [qwen3, { sliding_window: 8, use_sliding_window: true, layer_types: TYPES }, [8, null, 8, null]],
    [gemma2, { sliding_window: 8, layer_types: TYPES.toReversed() }, [null, 8, null, 8]],
    [gemma3, { sliding_window: 8, sliding_window_pattern: 2 }, [8, null, 8, null]],
  ])('is of the layers that have one: %#', (architecture, fields, windows) => {
    expect(architecture.shape({ ...SIZES, ...fields }).attention?.map(({ window }) => window)).toEqual(windows);
  });

  it('that makes no sense is refused', () => {
    expect(() => gemma2.shape({ ...SIZES, layer_types: ['full_attention'] })).toThrow(
      /a type for each of the 4 layers/,
    );
    expect(() => mistral.shape({ ...SIZES, sliding_window: 0 })).toThrow(/sliding_window is 0; expected a positive/);
  });
});

describe('what is not computed is refused by name', () => {
  it.each([
    [mistral, { hidden_act: 'gelu' }, /hidden_act = "gelu".*mistral architecture/],
    [qwen2, { rope_scaling: { type: 'yarn', factor: 4 } }, /rope type "yarn".*qwen2 architecture/],
    [qwen2, { layer_types: ['linear_attention'] }, /layers of the type "linear_attention"/],
    [qwen3, { num_experts: 8 }, /mixture of experts/],
    [gemma2, { hidden_activation: 'gelu' }, /hidden_activation = "gelu".*gemma2 architecture/],
    [gemma3, { use_bidirectional_attention: true }, /attention in both directions/],
    [gemma3, { rope_scaling: { rope_type: 'yarn', factor: 4 } }, /rope type "yarn".*Supported: default, linear/],
    [mistral, { rope_scaling: { rope_type: 'linear', factor: 4 } }, /rope type "linear".*Supported: default, llama3/],
    [phi3, { rope_scaling: { type: 'linear', factor: 4 } }, /rope type "linear".*Supported: default, longrope/],
    [gpt2, { activation_function: 'relu' }, /activation_function = "relu".*Supported: .*gelu_new/],
    [gpt2, { scale_attn_weights: false }, /scale_attn_weights = false/],
    [gpt2, { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx = true/],
    [gpt2, { add_cross_attention: true }, /cross-attention/],
    [opt, { do_layer_norm_before: false }, /norms behind the branches.*do_layer_norm_before = false/],
    [opt, { word_embed_proj_dim: 32 }, /word_embed_proj_dim = 32.*Supported: word_embed_proj_dim = hidden_size \(64\)/],
    [opt, { activation_function: 'gelu' }, /activation_function = "gelu".*opt architecture/],
    [opt, { layer_norm_elementwise_affine: false }, /layer norms without gain and bias/],
    [opt, { _remove_final_layer_norm: true }, /no norm before the head/],
  ])('%#', (architecture, fields, message) => {
    expect(() => architecture.shape({ ...SIZES, ...fields })).toThrow(
      expect.objectContaining({ code: 'UnsupportedArchitecture', message: expect.stringMatching(message) }),
    );
  });

  it('and fields that do not fit together', () => {
    expect(() => gpt2.shape({ n_head: 5 })).toThrow(/n_head is 5; expected a divisor of 768/);
  });
});

describe('Phi-3', () => {
  // As Phi-3-mini-128k and Phi-4-mini have it.
  const long = { type: 'su', short_factor: [1, 1.5, 2], long_factor: [4, 5, 6] };
  const config = {
    ...SIZES,
    max_position_embeddings: 131072,
    original_max_position_embeddings: 4096,
    partial_rotary_factor: 0.375,
    rope_scaling: long,
  };

  it('turns a part of a head, with the short factors, as far as these hold', () => {
    const { rotary, sequenceLimit } = phi3.shape(config);
    // sqrt(1 + ln 32 / ln 4096), LongRoPE's attention factor.
    const amplitude = expect.closeTo(1.1902380714238083, 12);
    expect(rotary).toEqual({ theta: 10000, llama3: null, rotated: 6, factors: [1, 1.5, 2], amplitude });
    expect(sequenceLimit).toEqual({ tokens: 4096, field: 'original_max_position_embeddings' });
  });

  it('without factors takes sequences of any length', () => {
    const { rotary, sequenceLimit } = phi3.shape({ ...SIZES, sliding_window: null });
    expect([rotary, sequenceLimit]).toEqual([{ theta: 10000, llama3: null }, undefined]);
  });

  it.each([
    [{ partial_rotary_factor: 0.3125 }, /partial_rotary_factor is 0.3125; expected an even number of the 16 features/],
    [{ rope_scaling: { ...long, short_factor: [1, 2] } }, /rope_scaling.short_factor is \[1,2\]; expected 3 positive/],
  ])('is refused where its fields do not fit together: %#', (fields, message) => {
    expect(() => phi3.shape({ ...config, ...fields })).toThrow(message);
  });
});

describe('Gemma', () => {
  it.each([
    [undefined, 2304, 48],
    ['float32', 1152, Math.sqrt(1152)],
    // As torch.tensor(1152 ** 0.5, dtype=torch.bfloat16) and its kin.
    ['bfloat16', 1152, 34],
    ['bfloat16', 3584, 59.75],
    ['float16', 3584, 59.875],
    ['bfloat16', 640, 25.25],
  ])('scales its embedding as a model of its type does: %s, %d', (dtype, hiddenSize, scale) => {
    const config = { ...SIZES, hidden_size: hiddenSize, ...(dtype && { torch_dtype: dtype }) };
    expect(gemma2.shape(config).embeddingScale).toBeCloseTo(scale, 5);
  });

  it('is not rotated: the gain of a norm behind a branch has no linear to move to', () => {
    expect(gemma3.rotations(gemma3.shape(SIZES), () => true)).toBeNull();
  });
});

describe('OPT', () => {
  it('goes by the names of the files, and publishes those of transformers', () => {
    const config = { model_type: 'opt' };
    const bare = architectureOf(config, (name) => name === 'decoder.embed_tokens.weight');
    expect([bare.embedding, bare.positions, bare.finalNorm, bare.head]).toEqual([
      'decoder.embed_tokens.weight',
      'decoder.embed_positions.weight',
      'decoder.final_layer_norm.weight',
      'lm_head.weight',
    ]);
    expect(bare.publishedName('decoder.layers.3.fc1.bias')).toBe('model.decoder.layers.3.fc1.bias');
  });

  it('is not rotated', () => {
    expect(opt.rotations(opt.shape({}), () => true)).toBeNull();
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
