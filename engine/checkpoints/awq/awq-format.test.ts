import { type LinearPlan, RecipeSchema } from '../../spec';
import { awq } from './awq-format';
import { awqStorage } from './awq-storage';

const plan = (name: string, recipe: object | null, shape: object = {}): LinearPlan => ({
  name,
  rows: 64,
  columns: 128,
  bias: false,
  recipe: recipe && RecipeSchema.parse(recipe),
  ...shape,
});
const q = 'model.layers.0.self_attn.q_proj';

describe('the format awq', () => {
  it.each([
    ['another width', plan(q, { bits: 3 }), '4 bits, not 3'],
    ['groups that follow the act-order', plan(q, { actOrder: 'dynamic' }), 'cannot follow the act-order'],
    ['rows that leave a word unfilled', plan(q, {}, { rows: 60 }), '60 rows are not a multiple of 8'],
    [
      'a group size that leaves columns',
      plan(q, { groupSize: 64 }, { columns: 96 }),
      '64 does not divide the 96 columns',
    ],
    ['a quantized head', plan('lm_head', {}), 'the head in 16 bit only'],
  ])('refuses %s', (_, linear, message) => {
    expect(awq.refuse(linear)).toContain(message);
  });

  it('takes what fits, and what is kept', () => {
    expect(awq.refuse(plan(q, { groupSize: -1, symmetric: false }))).toBeNull();
    expect(awq.refuse(plan('lm_head', null))).toBeNull();
  });

  it('refuses several group sizes in one checkpoint', () => {
    expect(awq.refuseTogether?.([plan('a', { groupSize: 64 }), plan('b', { groupSize: 128 })])).toContain('64 and 128');
    expect(awq.refuseTogether?.([plan('a', { groupSize: 64 }), plan('b', null)])).toBeNull();
  });

  it('names what is kept in the configuration that AutoAWQ writes', () => {
    const linears = [plan(q, { groupSize: 64 }), plan('model.layers.0.mlp.up_proj', null)];
    const sourceConfig = { architectures: ['LlamaForCausalLM'] };
    const config = awq.config({ sourceConfig, linears, layout: 'gemm', order: 'stage', version: '0' });
    expect(config.quantization_config).toEqual({
      quant_method: 'awq',
      version: 'gemm',
      bits: 4,
      group_size: 64,
      zero_point: true,
      modules_to_not_convert: ['model.layers.0.mlp.up_proj', 'lm_head'],
      dynamic: { '-:^model\\.layers\\.0\\.mlp\\.up_proj$': {} },
    });
  });

  it('counts scales and zero points', () => {
    expect(awq.bitsPerWeight(plan(q, { groupSize: 64 }))).toBe(4 + 20 / 64);
    expect(awq.bitsPerWeight(plan(q, { groupSize: -1 }))).toBe(4 + 20 / 128);
  });
});

describe('a quantization_config of AWQ', () => {
  const describe = (config: object) => awqStorage.describe?.({ quant_method: 'awq', ...config });

  it.each([
    ['AutoAWQ', { bits: 4, group_size: 64, version: 'gemm', zero_point: true, modules_to_not_convert: null }],
    ['AutoAWQ before 0.1.8', { w_bit: 4, q_group_size: 64, version: 'GEMM', zero_point: true }],
    ['GPTQModel', { bits: 4, group_size: 64, format: 'gemm', checkpoint_format: 'gemm' }],
  ])('of %s is understood; heads are kept', (_, config) => {
    const found = describe(config);
    expect(found?.settingsOf(q)).toEqual({ bits: 4, groupSize: 64, symmetric: false, layout: 'gemm' });
    expect(found?.settingsOf('lm_head')).toBeNull();
  });

  it('says what is not converted', () => {
    const found = describe({
      bits: 4,
      group_size: 64,
      modules_to_not_convert: ['gate', 'model.layers.1.mlp.down_proj'],
    });
    expect(found?.settingsOf('model.layers.0.block.gate')).toBeNull();
    expect(found?.settingsOf('model.layers.1.mlp.down_proj')).toBeNull();
    expect(found?.settingsOf('model.layers.0.mlp.gate_proj')).not.toBeNull();
  });

  it('says the same in the way of GPTQModel, and other groups', () => {
    const found = describe({
      ...{ bits: 4, group_size: 64, format: 'gemm' },
      dynamic: { '+:.*down_proj': { group_size: 32 }, '-:.*\\.1\\..*': {}, '+:.*k_proj': { bits: 8 } },
    });
    expect(found?.settingsOf('model.layers.1.mlp.down_proj')).toBeNull();
    expect(found?.settingsOf('model.layers.0.mlp.down_proj')?.groupSize).toBe(32);
    expect(() => found?.settingsOf('model.layers.0.self_attn.k_proj')).toThrow(
      'quantization_config.dynamic, bits of model.layers.0.self_attn.k_proj is 8; of AWQ, 4 can be read.',
    );
  });

  it.each([
    ['another layout', { version: 'gemv' }, 'quantization_config.version is "gemv"'],
    ['another width', { bits: 8 }, 'quantization_config.bits is 8'],
    ['no columns in a group', { group_size: 0 }, 'quantization_config.group_size is 0'],
    ['what makes no sense', { bits: 'four' }, 'quantization_config of config.json: bits'],
  ])('is refused by name with %s', (_, config, message) => {
    expect(() => describe(config)).toThrow(message);
  });
});
