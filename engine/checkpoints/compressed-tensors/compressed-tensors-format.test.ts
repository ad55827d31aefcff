import { type LinearPlan, type Recipe, RecipeSchema } from '../../spec';
import { formatOf, storedLinears } from '../formats';

const { config, refuse, bitsPerWeight, encodeLinear, loading } = formatOf('compressed-tensors');

const PACKED = 'pack-quantized';
const LINEARS = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj', 'mlp.down_proj'];

function recipe(fields: Partial<Recipe> = {}): Recipe {
  return RecipeSchema.parse({ groupSize: 64, ...fields });
}

function linear(fields: Partial<LinearPlan>): LinearPlan {
  return { name: 'm', rows: 128, columns: 128, bias: false, recipe: recipe(), ...fields };
}

function model(recipeOf: (name: string) => Recipe | null, head: Recipe | null = null): LinearPlan[] {
  const layers = Array.from({ length: 12 }, (_, layer) =>
    LINEARS.map((name) => `model.layers.${layer}.${name}`),
  ).flat();
  return [...layers.map((name) => linear({ name, recipe: recipeOf(name) })), linear({ name: 'lm_head', recipe: head })];
}

function written(linears: LinearPlan[]) {
  const sourceConfig = { model_type: 'llama', tie_word_embeddings: true };
  return config({ sourceConfig, linears, layout: 'pack-quantized', order: 'stage', version: '0.1.0' });
}

function expectReadBack(linears: LinearPlan[]): void {
  const stored = storedLinears(written(linears));
  const settings = linears.map(({ name }) => [name, stored?.settingsOf(name)]);
  const meant = linears.map(({ name, recipe: own }) => [
    name,
    own && { bits: own.bits, groupSize: own.groupSize, symmetric: own.symmetric, layout: 'pack-quantized' },
  ]);
  expect(settings).toEqual(meant);
}

describe('the quantization_config', () => {
  it('is what compressed-tensors and vLLM read', () => {
    const linears = model(() => recipe());
    expect(written(linears)).toEqual({
      model_type: 'llama',
      tie_word_embeddings: true,
      quantization_config: {
        quant_method: 'compressed-tensors',
        format: 'pack-quantized',
        quantization_status: 'compressed',
        config_groups: {
          group_0: {
            targets: ['Linear'],
            weights: {
              num_bits: 4,
              type: 'int',
              symmetric: true,
              strategy: 'group',
              group_size: 64,
              dynamic: false,
              actorder: 'weight',
            },
            input_activations: null,
            output_activations: null,
            format: 'pack-quantized',
          },
        },
        ignore: ['lm_head'],
        kv_cache_scheme: null,
        global_compression_ratio: null,
      },
    });
    expectReadBack(linears);
  });

  it('has a group for every way that linears are stored, fused linears under both names', () => {
    const linears = model((name) => {
      if (name.endsWith('down_proj')) return recipe({ bits: 8, groupSize: -1, actOrder: 'none' });
      if (name.endsWith('layers.3.self_attn.o_proj')) return null;
      return recipe({ symmetric: name.includes('.11.') });
    });
    const { config_groups: groups, ignore } = written(linears).quantization_config as Record<string, object>;
    expect(ignore).toEqual(['model.layers.3.self_attn.o_proj', 'lm_head']);
    expect(groups).toMatchObject({
      group_0: {
        targets: [
          're:^model\\.layers\\.(?:0|1|2|3|4|5|6|7|8|9|10)\\.self_attn\\.(?:q_proj|k_proj|v_proj|qkv_proj)$',
          're:^model\\.layers\\.(?:0|1|2|4|5|6|7|8|9|10)\\.self_attn\\.o_proj$',
        ],
        weights: { num_bits: 4, symmetric: false },
      },
      group_1: {
        targets: ['re:^model\\.layers\\.\\d+\\.mlp\\.down_proj$'],
        weights: { num_bits: 8, strategy: 'channel', group_size: null, actorder: null },
      },
      group_2: { weights: { num_bits: 4, symmetric: true } },
    });
    expectReadBack(linears);
  });

  it('ignores a head that is no linear of the plan', () => {
    const linears = model(() => recipe()).filter(({ name }) => name !== 'lm_head');
    expect(written(linears)).toMatchObject({ quantization_config: { ignore: ['lm_head'] } });
  });

  it('unties the head when it is quantized', () => {
    const linears = model(() => recipe(), recipe({ bits: 8 }));
    expect(written(linears)).toMatchObject({ tie_word_embeddings: false, quantization_config: { ignore: [] } });
    expectReadBack(linears);
  });

  it('is refused when nothing is quantized', () => {
    expect(() => written(model(() => null))).toThrow('nothing to write as compressed-tensors');
  });
});

describe('what cannot be written', () => {
  it.each([
    ['columns', linear({ columns: 100, recipe: recipe({ groupSize: -1 }) }), '100 columns are not a multiple of 32'],
    ['a last group that is shorter', linear({ columns: 96 }), 'the group size 64 does not divide the 96 columns'],
    ['dynamic act-order', linear({ recipe: recipe({ actOrder: 'dynamic' }) }), 'Set recipe.actOrder to static'],
  ])('is said: %s', (_, plan, message) => {
    expect(refuse(plan)).toContain(message);
  });

  it('is nothing for linears kept in 16 bit, for any rows and bits, and for round-to-nearest, which has no order', () => {
    expect(refuse(linear({ columns: 3, recipe: null }))).toBeNull();
    expect(refuse(linear({ rows: 33, recipe: recipe({ bits: 5, symmetric: false }) }))).toBeNull();
    expect(refuse(linear({ recipe: recipe({ method: 'rtn', actOrder: 'dynamic' }) }))).toBeNull();
  });

  it('is refused when it comes all the same, naming where', () => {
    const quantized = {
      ...({ kind: 'affine', rows: 1, columns: 64, bits: 4, groupSize: 32, symmetric: true } as const),
      codes: new Uint8Array(64),
      zeros: new Uint8Array(2).fill(8),
      scales: new Float32Array([1, 2]),
      groupOf: Int32Array.from({ length: 64 }, (_, column) => Math.floor(column / 32)),
    };
    expect(() => encodeLinear('m', quantized, PACKED)).not.toThrow();
    expect(() => encodeLinear('m', { ...quantized, scales: new Float32Array([1, 0]) }, PACKED)).toThrow(
      'm: the scale of row 0, group 1 is 0',
    );
    expect(() => encodeLinear('m', { ...quantized, groupOf: quantized.groupOf.toReversed() }, PACKED)).toThrow(
      'm: compressed-tensors 0.19 no longer reads groups that follow the act-order',
    );
  });
});

it('counts the bits per weight as the files hold them', () => {
  const size = { rows: 4096, columns: 4096 };
  // Scales of 16 bit, two int64 of weight_shape, zero points when there are any.
  expect(bitsPerWeight(linear(size))).toBe(4 + 16 / 64 + 128 / 4096 ** 2);
  expect(bitsPerWeight(linear({ ...size, recipe: recipe({ bits: 3, groupSize: -1, symmetric: false }) }))).toBe(
    3 + 19 / 4096 + 128 / 4096 ** 2,
  );
  expect(bitsPerWeight(linear({ recipe: null }))).toBe(16);
});

it('says what loads it', () => {
  const of = (bits: Recipe['bits']) =>
    loading({
      layout: 'pack-quantized',
      linears: { m: { rows: 1, columns: 1, recipe: recipe({ bits }), weightSha256: null } },
    });
  expect(of(4)).toContain('transformers (with compressed-tensors installed)');
  expect(of(4)).toContain('vLLM:\n');
  expect(of(3)).toContain('compressed-tensors 0.18 or later');
  expect(of(3)).toContain('vLLM (a version that has kernels for 3 bits in this format)');
});
