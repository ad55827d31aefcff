import { type LinearPlan, type Recipe, RecipeSchema } from '../../spec';
import { formatOf } from '..';
import { moduleSettings, readGptqConfig } from './module-settings';

const LINEARS = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
];

function recipe(fields: Partial<Recipe> = {}): Recipe {
  return RecipeSchema.parse(fields);
}

function model(recipeOf: (name: string) => Recipe | null, head: Recipe | null = null): LinearPlan[] {
  const layers = Array.from({ length: 12 }, (_, layer) =>
    LINEARS.map((name) => `model.layers.${layer}.${name}`).map((name) => ({
      name,
      rows: 128,
      columns: 128,
      bias: false,
      recipe: recipeOf(name),
    })),
  ).flat();
  return [...layers, { name: 'lm_head', rows: 1024, columns: 128, bias: false, recipe: head }];
}

function config(linears: LinearPlan[], name: 'gptq' | 'gptq_v2' = 'gptq') {
  const format = formatOf(name);
  return format.config({
    sourceConfig: { model_type: 'llama', tie_word_embeddings: true, dtype: 'bfloat16' },
    linears,
    layout: format.layout(linears),
    order: 'stage',
    version: '0.1.0',
  });
}

function dynamicOf(linears: LinearPlan[]) {
  return (config(linears).quantization_config as { dynamic?: unknown }).dynamic;
}

/** What each module's settings are when the config is read back. */
function expectReadBack(linears: LinearPlan[]): void {
  const written = readGptqConfig(config(linears).quantization_config as Record<string, unknown>);
  for (const linear of linears) {
    if (linear.name === 'lm_head') continue;
    const settings = moduleSettings(written, linear.name);
    const meant = linear.recipe && {
      bits: linear.recipe.bits,
      groupSize: linear.recipe.groupSize,
      symmetric: linear.recipe.symmetric,
      layout: written.layout,
    };
    expect({ name: linear.name, settings }).toEqual({ name: linear.name, settings: meant });
  }
}

describe('the quantization_config', () => {
  it('is what GPTQModel, transformers and vLLM read', () => {
    expect(config(model(() => recipe({ groupSize: 64 })))).toEqual({
      model_type: 'llama',
      tie_word_embeddings: true,
      dtype: 'bfloat16',
      quantization_config: {
        quant_method: 'gptq',
        bits: 4,
        group_size: 64,
        sym: true,
        desc_act: false,
        lm_head: false,
        checkpoint_format: 'gptq',
        format: 'gptq',
        pack_dtype: 'int32',
        meta: {
          quantizer: ['quantloom:0.1.0'],
          method: 'gptq',
          damp_percent: 0.01,
          static_groups: true,
          true_sequential: true,
          mse: 2,
          refinements: 3,
        },
      },
    });
  });

  it('has desc_act for groups that follow the act-order', () => {
    expect(config(model(() => recipe({ actOrder: 'dynamic' })))).toMatchObject({
      quantization_config: { desc_act: true },
    });
  });

  it('unties the head when it is quantized', () => {
    expect(config(model(() => recipe(), recipe({ bits: 8 })))).toMatchObject({
      tie_word_embeddings: false,
      quantization_config: { bits: 4, lm_head: true, dynamic: { '+:^lm_head$': { bits: 8 } } },
    });
  });

  it('is planar as soon as one linear has 5 or 6 bits', () => {
    const linears = model((name) => recipe({ bits: name.endsWith('down_proj') ? 6 : 3 }));
    expect(config(linears, 'gptq_v2')).toMatchObject({ quantization_config: { checkpoint_format: 'gptq_p' } });
  });

  it('names overrides by anchored expressions, for fused linears too', () => {
    const linears = model((name) => {
      if (name.endsWith('down_proj')) return recipe({ bits: 8, groupSize: 32 });
      if (/layers\.(0|11)\.self_attn\.[qkv]/.test(name)) return recipe({ symmetric: false });
      if (/layers\.1\.mlp/.test(name)) return null;
      return recipe();
    });
    expect(dynamicOf(linears)).toEqual({
      '-:^model\\.layers\\.1\\.mlp\\.(?:gate_proj|up_proj|gate_up_proj)$': {},
      '+:^model\\.layers\\.(?:0|11)\\.self_attn\\.(?:q_proj|k_proj|v_proj|qkv_proj)$': { sym: false },
      '+:^model\\.layers\\.\\d+\\.mlp\\.down_proj$': { bits: 8, group_size: 32 },
    });
    expectReadBack(linears);
  });

  it('keeps layer 1 apart from layer 11', () => {
    const linears = model((name) => (name === 'model.layers.1.mlp.up_proj' ? null : recipe()));
    expect(dynamicOf(linears)).toEqual({ '-:^model\\.layers\\.1\\.mlp\\.up_proj$': {} });
    expectReadBack(linears);
  });

  it('tells transformers, which knows no dynamic, what is quantized when something is skipped', () => {
    expect(config(model((name) => (name.endsWith('o_proj') ? null : recipe())))).toMatchObject({
      quantization_config: { modules_in_block_to_quantize: [LINEARS.filter((name) => !name.endsWith('o_proj'))] },
    });
  });

  it('is refused when nothing is quantized', () => {
    expect(() => config(model(() => null))).toThrow('nothing to write as GPTQ');
  });

  it('is also in quantize_config.json', () => {
    const format = formatOf('gptq');
    const linears = model(() => recipe());
    const context = { sourceConfig: {}, linears, layout: 'gptq', order: 'layer', version: '1.2.3' } as const;
    const text = format.files(context).get('quantize_config.json') as string;
    expect(JSON.parse(text)).toEqual(format.config(context).quantization_config);
  });
});

describe('overrides of other producers', () => {
  const read = (dynamic: Record<string, object>, module: string) =>
    moduleSettings(readGptqConfig({ quant_method: 'gptq', bits: 4, group_size: 128, dynamic }), module);

  it.each([
    ['the first match wins', { '+:.*down.*': { bits: 8 }, '.*': { bits: 3 } }, 8],
    ['a bare expression overrides', { '.*\\.0\\..*': { bits: 8 } }, 8],
    ['matching starts at the start of the name', { '+:layers': { bits: 8 } }, 4],
    ['and need not reach its end', { '+:model\\.layers\\.0': { bits: 8 } }, 8],
  ])('%s', (_, dynamic, bits) => {
    expect(read(dynamic, 'model.layers.0.mlp.down_proj')?.bits).toBe(bits);
  });

  it('a skip wins wherever it stands', () => {
    expect(read({ '+:.*': { bits: 8 }, '-:.*gate.*': {} }, 'model.layers.0.mlp.gate_proj')).toBeNull();
  });

  it('that are no expression are refused', () => {
    expect(() => read({ '+:(': {} }, 'm')).toThrow(expect.objectContaining({ code: 'InvalidCheckpoint' }));
  });
});

describe('what cannot be written', () => {
  const linear = (fields: Partial<LinearPlan>): LinearPlan => ({
    name: 'm',
    rows: 64,
    columns: 64,
    bias: false,
    recipe: recipe(),
    ...fields,
  });

  it.each([
    ['rows', linear({ rows: 48 }), '48 rows are not a multiple of 32'],
    ['columns', linear({ columns: 100 }), '100 columns are not a multiple of 32'],
  ])('is said: %s', (_, plan, message) => {
    expect(formatOf('gptq').refuse(plan)).toContain(message);
  });

  it('is nothing for linears kept in 16 bit, and for few bits with zero points', () => {
    expect(formatOf('gptq').refuse(linear({ rows: 3, recipe: null }))).toBeNull();
    expect(formatOf('gptq').refuse(linear({ recipe: recipe({ bits: 2, symmetric: false }) }))).toBeNull();
    expect(formatOf('gptq_v2').refuse(linear({ recipe: recipe({ bits: 2, symmetric: false }) }))).toBeNull();
  });
});

it('counts the bits per weight as the files hold them', () => {
  const { bitsPerWeight } = formatOf('gptq');
  const linear = { name: 'm', rows: 4096, columns: 4096, bias: false };
  // 4 + (16 + 4) / 128 for scales and zero points, 32 bits of g_idx per column.
  expect(bitsPerWeight({ ...linear, recipe: recipe() })).toBe(4 + 20 / 128 + 32 / 4096);
  expect(bitsPerWeight({ ...linear, recipe: null })).toBe(16);
});
