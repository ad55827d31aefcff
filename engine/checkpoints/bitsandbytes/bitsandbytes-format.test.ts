import { type LinearPlan, type Recipe, RecipeSchema } from '../../spec';
import { formatOf, storedLinears } from '../formats';

const { config, layout, bitsPerWeight, refuseTogether } = formatOf('bitsandbytes');
const NF4 = RecipeSchema.parse({ method: 'nf4', groupSize: 64 });
const INT8 = RecipeSchema.parse({ method: 'llm-int8', bits: 8, groupSize: -1 });

function linear(name: string, recipe: Recipe | null): LinearPlan {
  return { name, rows: 1024, columns: 1024, bias: false, recipe };
}

function written(linears: LinearPlan[]) {
  const sourceConfig = { model_type: 'llama', dtype: 'bfloat16', tie_word_embeddings: true };
  return config({ sourceConfig, linears, layout: layout(linears), order: 'stage', version: '0.1.0' });
}

const Q = 'model.layers.1.self_attn.q_proj';
const UP = 'model.layers.1.mlp.up_proj';

describe('the quantization_config', () => {
  it('is what transformers writes, but for the threshold that JSON cannot hold as a float', () => {
    // BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True, llm_int8_skip_modules=['lm_head'],
    // bnb_4bit_compute_dtype='bfloat16').to_dict() of transformers 5.20
    expect(written([linear(Q, NF4)])).toEqual({
      model_type: 'llama',
      dtype: 'bfloat16',
      tie_word_embeddings: true,
      quantization_config: {
        quant_method: 'bitsandbytes',
        _load_in_8bit: false,
        _load_in_4bit: true,
        llm_int8_skip_modules: ['lm_head'],
        llm_int8_enable_fp32_cpu_offload: false,
        llm_int8_has_fp16_weight: false,
        bnb_4bit_quant_type: 'nf4',
        bnb_4bit_use_double_quant: true,
        bnb_4bit_compute_dtype: 'bfloat16',
        bnb_4bit_quant_storage: 'uint8',
        load_in_4bit: true,
        load_in_8bit: false,
      },
    });
    expect(written([linear(Q, INT8)])).toMatchObject({
      quantization_config: { load_in_4bit: false, load_in_8bit: true, bnb_4bit_quant_type: 'fp4' },
    });
  });

  it('names what is kept, and is read back', () => {
    const stored = storedLinears(written([linear(Q, NF4), linear(UP, null), linear('lm_head', NF4)]));
    expect(stored?.layout).toBe('nf4');
    expect(stored?.settingsOf(Q)).toEqual({ bits: 4, groupSize: 0, symmetric: true, layout: 'nf4' });
    expect(stored?.settingsOf('lm_head')).not.toBeNull();
    expect(stored?.settingsOf(UP)).toBeNull();
  });

  it('keeps the head where no modules are named, and what ends or begins with a name', () => {
    const raw = { quant_method: 'bitsandbytes', load_in_8bit: true };
    const settings = (skipped: unknown, module: string) =>
      storedLinears({ quantization_config: { ...raw, llm_int8_skip_modules: skipped } })?.settingsOf(module);
    expect(settings(null, 'lm_head')).toBeNull();
    expect(settings(null, Q)).toMatchObject({ bits: 8, groupSize: -1 });
    expect(settings(['q_proj'], Q)).toBeNull();
    expect(settings(['model.layers.1'], Q)).toBeNull();
    expect(settings(['model.layers.2'], Q)).not.toBeNull();
  });

  it.each([
    [
      { load_in_4bit: true, bnb_4bit_quant_storage: 'bfloat16' },
      /bnb_4bit_quant_storage is "bfloat16"; "uint8" can be read/,
    ],
    [{ load_in_4bit: true, load_in_8bit: true }, /neither load_in_4bit nor load_in_8bit, or both/],
    [{ load_in_4bit: true, bnb_4bit_quant_type: 'int4' }, /bnb_4bit_quant_type/],
  ])('%j is refused', (fields, message) => {
    expect(() => storedLinears({ quantization_config: { quant_method: 'bitsandbytes', ...fields } })).toThrow(message);
  });
});

test('counts what a linear takes in the file', () => {
  // 64 weights: 32 bytes of codes and one of their magnitude; 256 of those: one float32. Tables and the state: 0.01.
  expect(bitsPerWeight(linear(Q, NF4))).toBeCloseTo(4 + 8 / 64 + 32 / (64 * 256), 1);
  expect(bitsPerWeight(linear(Q, { ...NF4, doubleQuant: false }))).toBeCloseTo(4.5, 1);
  expect(bitsPerWeight(linear(Q, INT8))).toBeCloseTo(8 + 32 / 1024, 3);
  expect(bitsPerWeight(linear(Q, null))).toBe(16);
});

test('one checkpoint is of one type', () => {
  expect(refuseTogether?.([linear(Q, NF4), linear(UP, null)])).toBeNull();
  expect(refuseTogether?.([linear(Q, NF4), linear(UP, INT8)])).toMatch(/one checkpoint holds nf4 or int8, not both/);
});
