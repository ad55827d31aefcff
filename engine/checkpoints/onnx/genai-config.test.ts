import { llama } from '../../models';
import { genaiConfig } from './genai-config';

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  max_position_embeddings: 8192,
  bos_token_id: 1,
  eos_token_id: [2, 7],
};

/** The fields that onnxruntime-genai reads, with the values that its own model builder writes for these files (src/python/py/models/builders/base.py). */
describe('genai_config.json', () => {
  const given = { config: CONFIG, shape: llama.shape(CONFIG), modelFile: 'onnx/model_q4.onnx' };

  it('describes the decoder', () => {
    expect(genaiConfig({ ...given, generation: {} })).toMatchObject({
      model: {
        type: 'llama',
        vocab_size: 49152,
        context_length: 8192,
        bos_token_id: 1,
        eos_token_id: [2, 7],
        pad_token_id: 2,
        decoder: {
          filename: 'onnx/model_q4.onnx',
          head_size: 64,
          hidden_size: 576,
          num_attention_heads: 9,
          num_hidden_layers: 30,
          num_key_value_heads: 3,
        },
      },
      search: {
        max_length: 8192,
        do_sample: false,
        temperature: 1,
        top_k: 50,
        top_p: 1,
        past_present_share_buffer: true,
      },
    });
  });

  it('names a type that onnxruntime-genai knows', () => {
    const config = { ...CONFIG, model_type: 'opt' };
    expect(genaiConfig({ ...given, config, generation: {} })).toMatchObject({ model: { type: 'decoder' } });
  });

  it('searches as generation_config.json says', () => {
    const generation = { do_sample: true, temperature: 0.6, top_p: 0.9, eos_token_id: 5, pad_token_id: 3 };
    expect(genaiConfig({ ...given, generation })).toMatchObject({
      model: { bos_token_id: 1, eos_token_id: 5, pad_token_id: 3 },
      search: { do_sample: true, temperature: 0.6, top_p: 0.9, top_k: 50 },
    });
  });
});
