import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TinyModelName, tinyModelDirectory } from '../../test/tiny-models';
import { serializeSafetensors } from '../checkpoints/safetensors';
import { type DType, elementCount, parseQuantizationSpec, type QuantizationSpecInput, type Tensor } from '../spec';
import { planModel } from './plan-model';

const ROOT = path.join(__dirname, '../..');

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 96,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
};

function tinyTensors(): Record<string, { dtype: DType; shape: number[] }> {
  const layers = [0, 1].flatMap((layer) => {
    const linear = (name: string, rows: number, columns: number) =>
      [`model.layers.${layer}.${name}.weight`, [rows, columns]] as const;
    return [
      linear('self_attn.q_proj', 64, 64),
      linear('self_attn.k_proj', 32, 64),
      linear('self_attn.v_proj', 32, 64),
      linear('self_attn.o_proj', 64, 64),
      linear('mlp.gate_proj', 128, 64),
      linear('mlp.up_proj', 128, 64),
      linear('mlp.down_proj', 64, 128),
      [`model.layers.${layer}.input_layernorm.weight`, [64]] as const,
      [`model.layers.${layer}.post_attention_layernorm.weight`, [64]] as const,
    ];
  });
  const shapes = [
    ...layers,
    ['model.embed_tokens.weight', [96, 64]],
    ['model.norm.weight', [64]],
    ['lm_head.weight', [96, 64]],
  ] as const;
  return Object.fromEntries(shapes.map(([name, shape]) => [name, { dtype: 'F16' as const, shape: [...shape] }]));
}

jest.setTimeout(120_000);

describe('planModel', () => {
  let directory: string;
  let output: string;
  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-plan-'));
    output = path.join(directory, 'output');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const plan = (input: Partial<QuantizationSpecInput>, storeDirectory: string | null = path.join(directory, 'store')) =>
    planModel(parseQuantizationSpec({ model: 'demo', output, ...input }), { storeDirectory });

  /** A model of two layers; `change` spoils its tensors, `config` its config. */
  async function tinyModel(
    change: (tensors: ReturnType<typeof tinyTensors>) => void = () => undefined,
    config: object = {},
  ) {
    const model = await mkdtemp(path.join(directory, 'model-'));
    const tensors = tinyTensors();
    change(tensors);
    const content = Object.entries(tensors).map(([name, { dtype, shape }]): [string, Tensor] => {
      const bytes = elementCount(shape) * ({ F16: 2, F32: 4, I8: 1 }[dtype as string] ?? 2);
      return [name, { dtype, shape, data: new Uint8Array(bytes) }];
    });
    await writeFile(path.join(model, 'model.safetensors'), serializeSafetensors(new Map(content)));
    await writeFile(path.join(model, 'config.json'), JSON.stringify({ ...CONFIG, ...config }));
    await copyFile(path.join(ROOT, 'assets/demo-model/tokenizer.json'), path.join(model, 'tokenizer.json'));
    return model;
  }
  const fits: Partial<QuantizationSpecInput> = {
    recipe: { groupSize: 32 },
    calibration: { sequenceLength: 64, samples: 8 },
  };

  describe('of methods with a grid of their own', () => {
    const recipe = { method: 'nf4' } as const;
    const refused = async (input: Partial<QuantizationSpecInput>) =>
      (await plan(input)).estimate.refusals.map(({ message }) => message);

    test('calibrates nothing, and knows the size of what it writes', async () => {
      const { plan: made, estimate } = await plan({ recipe });
      expect(estimate.refusals).toEqual([]);
      expect(estimate.warnings).toEqual([]);
      expect(made.slices).toEqual([]);
      // 4 + 8 / 64 + 32 / (64 * 256) bits, and the tables of small linears.
      expect(estimate.bitsPerWeight).toBeGreaterThan(4.127);
      expect(estimate.bitsPerWeight).toBeLessThan(4.25);
      const int8 = await plan({ recipe: { method: 'llm-int8' } });
      expect(int8.estimate.refusals).toEqual([]);
      expect(int8.estimate.bitsPerWeight).toBeCloseTo(8.1, 1);
    });

    test('refuses a format that cannot hold what the method makes, with what to do', async () => {
      expect(await refused({ recipe, formats: ['gptq'] })).toEqual([
        'Format gptq: it cannot hold what the method nf4 makes. Write the format bitsandbytes, dequantized or dequantized-float32; or for gptq use the method rtn, gptq, awq or ternary.',
      ]);
      expect(await refused({ formats: ['bitsandbytes'] })).toEqual([
        'Format bitsandbytes: it cannot hold what the method gptq makes. ' +
          'Write the format gptq, gptq_v2, compressed-tensors, awq, gguf, onnx, dequantized or dequantized-float32; ' +
          'or for bitsandbytes use the method nf4, fp4 or llm-int8.',
      ]);
    });

    test('refuses bits and groups that the method does not have, and two types in one checkpoint', async () => {
      expect(await refused({ recipe: { ...recipe, bits: 3 } })).toEqual([
        expect.stringMatching(/^nf4 has 4 bits, not 3/),
      ]);
      expect(await refused({ recipe: { ...recipe, groupSize: 16 } })).toEqual([
        expect.stringMatching(/^nf4 has blocks of 32, 64, 128 or 256 weights, not 16/),
      ]);
      expect(await refused({ recipe: { method: 'llm-int8', bits: 4 } })).toEqual([
        expect.stringMatching(/^llm-int8 has 8 bits, not 4/),
      ]);
      const overrides = [{ match: '*.down_proj', method: 'fp4' as const }];
      expect(await refused({ recipe, overrides })).toEqual([
        expect.stringMatching(/^Format bitsandbytes: one checkpoint holds nf4 or fp4, not both/),
      ]);
    });
  });

  describe('on the demo model', () => {
    test('knows every linear, tensor and slice', async () => {
      const { plan: made, estimate } = await plan({
        calibration: { samples: 10, sequenceLength: 512, sliceTokens: 2048 },
      });
      expect(estimate.refusals).toEqual([]);
      expect(estimate.warnings).toEqual([]);
      expect(made).toMatchObject({ architecture: 'llama', parameters: 3672320, sourceBytes: 2 * 3672320 });
      expect(made.blocks.map(({ index, name }) => [index, name])).toEqual(
        [0, 1, 2, 3].map((i) => [i, `model.layers.${i}`]),
      );
      expect(
        made.blocks[2]?.stages.map(({ stage, linears }) => [
          stage,
          linears.map(({ name, rows, columns }) => `${name} ${rows} ${columns}`),
        ]),
      ).toEqual([
        [
          'attention-input',
          ['q_proj 256 256', 'k_proj 128 256', 'v_proj 128 256'].map((linear) => `model.layers.2.self_attn.${linear}`),
        ],
        ['attention', ['model.layers.2.self_attn.o_proj 256 256']],
        ['mlp-input', ['model.layers.2.mlp.gate_proj 768 256', 'model.layers.2.mlp.up_proj 768 256']],
        ['mlp', ['model.layers.2.mlp.down_proj 256 768']],
      ]);
      expect(made.blocks[0]?.tensors).toHaveLength(9);
      expect(made.blocks[0]?.tensors).toEqual([...(made.blocks[0]?.tensors ?? [])].sort());
      expect(made.remainder).toEqual(['model.embed_tokens.weight', 'model.norm.weight']);
      expect(made.companions).toEqual(
        expect.arrayContaining(['generation_config.json', 'tokenizer.json', 'tokenizer_config.json']),
      );
      expect(made.slices).toEqual([
        { firstSequence: 0, sequences: 4 },
        { firstSequence: 4, sequences: 4 },
        { firstSequence: 8, sequences: 2 },
      ]);
    });

    test('a rotation unties the head: a copy of the embedding, in files and estimates', async () => {
      const asked = { calibration: { samples: 4, sequenceLength: 256, sliceTokens: 512 } };
      const before = await plan(asked);
      const { plan: made, estimate } = await plan({ ...asked, rotation: 'hadamard' });
      expect(estimate.refusals).toEqual([]);
      expect(estimate.warnings).toEqual([
        'Rotated, lm_head.weight is not model.embed_tokens.weight any more: the checkpoint holds both, 1048576 bytes more ' +
          '(tie_word_embeddings: false).',
      ]);
      expect(made.config.tie_word_embeddings).toBe(false);
      expect(made.remainder).toEqual(['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight']);
      const embedding = made.tensors['model.embed_tokens.weight'];
      expect(made.tensors['lm_head.weight']).toEqual({
        ...embedding,
        name: 'lm_head.weight',
        copyOf: 'model.embed_tokens.weight',
      });
      expect(made.parameters).toBe(3672320);
      expect(estimate.outputBytes - before.estimate.outputBytes).toBe(2048 * 256 * 2);
      // In the store besides: 4 layers of 786432 weights in float32, two embeddings and 9 norms in bfloat16.
      const rotated = 4 * 786432 * 4 + 2 * (2 * 2048 * 256 + 9 * 256);
      expect(estimate.storeBytes - before.estimate.storeBytes).toBe(2048 * 256 * 2 + rotated);
      // A block each, the remainder, and the table.
      expect(estimate.activities - before.estimate.activities).toBe(6);
      // The embedding as it was, as float32, and room for as much again.
      expect(estimate.peakMemoryBytes['rotate-block']).toBe(2048 * 256 * (2 + 4 + 4));
    });

    test('estimates what can be worked out by hand', async () => {
      const { estimate } = await plan({
        calibration: { samples: 4, sequenceLength: 256, sliceTokens: 512 },
        evaluation: { text: 'demo' },
      });
      // 786432 weights a layer; with groups of 128 a scale (16 bit) and a zero (4 bit) each, and g_idx: 32 bit for 2304 columns.
      expect(estimate.bitsPerWeight).toBeCloseTo(4 + 20 / 128 + (32 * 2304) / 786432, 12);
      // Embedding 2048 x 256 and 9 norms of 256 in 16 bit.
      expect(estimate.outputBytes).toBe((4 * 786432 * 4.25) / 8 + 2 * (2048 * 256 + 9 * 256));
      expect(estimate.bytesToRead).toBe(7344640);
      expect(estimate.calibrationTokens).toBe(1024);
      // Four stages: two slices each, a quantization; two slices of the original; a pack.
      expect(estimate.activitiesPerLayer).toBe(4 * 2 + 4 + 2 + 1);
      // Inspect, fetch, tokenize, 2 embed, layers, remainder, assemble, verify, publish, 2 evaluate.
      expect(estimate.activities).toBe(3 + 2 + 4 * 15 + 1 + 3 + 2);
      expect(estimate.linears).toBe(28);
      expect(Object.keys(estimate.peakMemoryBytes).sort()).toEqual([
        'calibrate-slice',
        'embed-slice',
        'evaluate',
        'fetch-model',
        'pack-layer',
        'quantize-linears',
      ]);
      for (const bytes of Object.values(estimate.peakMemoryBytes)) expect(bytes).toBeGreaterThan(1e6);
      expect(estimate.diskFreeBytes).toBeGreaterThan(1e6);
    });

    test('counts the floating-point operations of forward passes, Hessians and solving', async () => {
      const { estimate } = await plan({
        calibration: { samples: 4, sequenceLength: 256, sliceTokens: 512 },
        recipe: { refinements: 0, mismatch: 0 },
      });
      const tokens = 1024;
      // The last down_proj is not applied: nothing behind it is calibrated.
      const linears = 2 * tokens * (4 * 786432 - 768 * 256);
      const attention = 4 * (4 * 4 * 64 * 256 * tokens) * 0.5;
      const hessians = 4 * 2 * tokens * (3 * 256 ** 2 + 768 ** 2);
      const factors = 4 * (4 / 3) * (3 * 256 ** 3 + 768 ** 3);
      const gptq = 4 * ((256 + 128 + 128 + 256 + 768 + 768) * 256 ** 2 + 256 * 768 ** 2);
      expect(estimate.floatingPointOperations).toBeCloseTo(linears + attention + hessians + factors + gptq, -3);
    });

    test('order layer runs all stages but the first twice', async () => {
      const { estimate } = await plan({
        order: 'layer',
        calibration: { samples: 4, sequenceLength: 256, sliceTokens: 512 },
      });
      expect(estimate.activitiesPerLayer).toBe(7 * 2 + 4 + 1);
    });

    test('a mismatch brings the original along, and stands in the recipes of the linears that end a residual branch', async () => {
      const recipe = { mismatch: 0.5 };
      const calibration = { samples: 2, sequenceLength: 64, sliceTokens: 64 };
      const [with5, without] = [
        await plan({ recipe, calibration }),
        await plan({ recipe: { mismatch: 0 }, calibration }),
      ];
      const linears = with5.plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
      const having = linears.filter((linear) => linear.recipe?.mismatch === 0.5).map(({ name }) => name);
      const ends = (layer: number) =>
        [`self_attn.o_proj`, `mlp.down_proj`].map((name) => `model.layers.${layer}.${name}`);
      expect(having).toEqual([0, 1, 2, 3].flatMap(ends));
      expect(linears.filter(({ recipe }) => recipe && 'mismatch' in recipe)).toHaveLength(8);
      // Two slices of the original.
      expect(with5.estimate.activitiesPerLayer - without.estimate.activitiesPerLayer).toBe(2);
      expect(with5.estimate.floatingPointOperations).toBeGreaterThan(without.estimate.floatingPointOperations);
      const memory = [with5, without].map(({ estimate }) => estimate.peakMemoryBytes['calibrate-slice'] as number);
      expect(memory[0]).toBeGreaterThan(memory[1] as number);

      const layer = await plan({ recipe, calibration, order: 'layer' });
      expect(layer.estimate.warnings.join()).toContain('mismatch is left out');
      expect(JSON.stringify(layer.plan.blocks)).not.toContain('mismatch');
    });

    test('order independent merges Hessians and drops activations in activities of their own', async () => {
      const { estimate } = await plan({
        order: 'independent',
        calibration: { samples: 4, sequenceLength: 256, sliceTokens: 512 },
      });
      expect(estimate.activitiesPerLayer).toBe(4 * 2 + 4 + 1 + 4 + 1);
      expect(estimate.peakMemoryBytes['merge-hessian']).toBe(16 * 768 * 768);
    });

    test('an average width is estimated as if it were one, with the pass that measures', async () => {
      const calibration = { samples: 4, sequenceLength: 256, sliceTokens: 512 };
      const uniform = await plan({ calibration, recipe: { bits: 3 } });
      const { estimate } = await plan({ calibration, averageBits: 3 });
      expect(estimate.bitsPerWeight).toBeCloseTo(uniform.estimate.bitsPerWeight, 9);
      expect(estimate.outputBytes).toBe(uniform.estimate.outputBytes);
      // Four layers: four stages with two slices, a merge and a measurement each; a drop. One choice.
      expect(estimate.activities).toBe(uniform.estimate.activities + 4 * (4 * (2 + 1 + 1) + 1) + 1);
      expect(estimate.warnings.join()).toMatch(/Widths are chosen later.*one forward pass more/);
      const independent = await plan({ calibration, averageBits: 3, order: 'independent' });
      expect(independent.estimate.warnings.join()).toMatch(/Hessians are used again/);
    });

    test('refuses an average that the widths cannot have', async () => {
      const { estimate } = await plan({ averageBits: 2.5, mixedWidths: [3, 4] });
      expect(estimate.refusals).toEqual([expect.objectContaining({ where: 'averageBits' })]);
      expect(estimate.refusals[0]?.message).toMatch(/3\.000 to 4\.000/);
      const planar = await plan({ averageBits: 5.5, mixedWidths: [5, 6] });
      expect(planar.estimate.refusals).toEqual([]);
      expect(planar.estimate.warnings.join()).toMatch(/only GPTQModel reads/);
    });

    test('round-to-nearest needs no calibration, no tokenizer and no text', async () => {
      const model = await tinyModel();
      await rm(path.join(model, 'tokenizer.json'));
      const recipe = { method: 'rtn', groupSize: 32 } as const;
      const { plan: made, estimate } = await plan({
        model,
        recipe,
        calibration: { source: path.join(directory, 'none.txt') },
      });
      expect(estimate.refusals).toEqual([]);
      expect(made.slices).toEqual([]);
      expect(estimate).toMatchObject({
        calibrationTokens: 0,
        activitiesPerLayer: 5,
        activities: 2 + 2 * 5 + 1 + 3,
        floatingPointOperations: 0,
      });
      expect(Object.keys(estimate.peakMemoryBytes)).toEqual(['fetch-model', 'quantize-linears', 'pack-layer']);
    });

    test('one gptq override among round-to-nearest is calibrated', async () => {
      const { plan: made, estimate } = await plan({
        recipe: { method: 'rtn' },
        overrides: [{ match: '*.3.mlp.down_proj', method: 'gptq' }],
        calibration: { samples: 8, sequenceLength: 512, sliceTokens: 4096 },
      });
      expect(made.slices).toHaveLength(1);
      // Four stages pass the slice on, and the original's; the one Hessian is merged where it is needed.
      expect(estimate.activities).toBe(3 + 1 + 4 * (4 + 4 + 1 + 1) + 1 + 3);
    });
  });

  describe('the head', () => {
    test('is planned only when it is to be quantized', async () => {
      const model = await tinyModel();
      const kept = (await plan({ ...fits, model })).plan;
      expect(kept.blocks).toHaveLength(2);
      expect(kept.remainder).toEqual(['lm_head.weight', 'model.embed_tokens.weight', 'model.norm.weight']);
      const quantized = (await plan({ ...fits, model, keepHead: false })).plan;
      expect(quantized.blocks[2]).toMatchObject({ index: 2, name: 'lm_head', tensors: ['lm_head.weight'] });
      expect(quantized.blocks[2]?.stages.map(({ linears }) => linears.map(({ name }) => name))).toEqual([['lm_head']]);
      expect(quantized.remainder).toEqual(['model.embed_tokens.weight', 'model.norm.weight']);
    });

    test('tied to the embedding and quantized it is allowed, with a warning', async () => {
      const { estimate } = await plan({ keepHead: false, calibration: { sequenceLength: 512 } });
      expect(estimate.refusals).toEqual([]);
      expect(estimate.warnings).toEqual([
        expect.stringMatching(/^lm_head is tied to the embedding: quantized, it becomes a tensor of its own/),
      ]);
    });

    test('an override for a head that stays in 16 bit is warned of, skipping it is not', async () => {
      const model = await tinyModel();
      const { estimate } = await plan({ ...fits, model, overrides: [{ match: 'lm_head', bits: 8 }] });
      expect(estimate.warnings).toEqual([
        expect.stringMatching(/"lm_head" is for lm_head only, which stays in 16 bit. Set keepHead to false/),
      ]);
      const skipped = await plan({ ...fits, model, overrides: [{ match: 'lm_head', skip: true }] });
      expect(skipped.estimate).toMatchObject({ refusals: [], warnings: [] });
    });
  });

  describe('refuses', () => {
    async function refusalsOf(input: Partial<QuantizationSpecInput>, storeDirectory?: string | null) {
      const { estimate } = await plan({ ...fits, ...input }, storeDirectory);
      return estimate.refusals.map(({ code, where, message }) => `${code} | ${where} | ${message}`);
    }

    test('columns that the group size does not divide, naming the sizes that fit', async () => {
      expect(await refusalsOf({ model: await tinyModel(), recipe: { groupSize: 128 } })).toEqual([
        'PlanRefused | model.layers.0.self_attn.q_proj, model.layers.0.self_attn.k_proj, model.layers.0.self_attn.v_proj and 9 more | ' +
          '64 columns are not divisible by the group size 128. Group sizes that fit: 64, 32, 16, -1 (-1: the whole row); ' +
          'set recipe.groupSize, or an override for these modules.',
      ]);
    });

    test('what a format cannot write', async () => {
      const narrow = await tinyModel(
        (tensors) => {
          for (const [name, tensor] of Object.entries(tensors)) {
            if (/mlp/.test(name)) tensor.shape = tensor.shape.map((size) => (size === 128 ? 80 : size));
          }
        },
        { intermediate_size: 80 },
      );
      const refusals = await refusalsOf({ model: narrow, recipe: { groupSize: 16 } });
      expect(refusals).toEqual([
        expect.stringMatching(
          /^PlanRefused \| model\.layers\.0\.mlp\.gate_proj, .* \| Format gptq: 80 rows are not a multiple of 32/,
        ),
        expect.stringMatching(/^PlanRefused \| .*mlp\.down_proj.* \| Format gptq: 80 columns are not a multiple of 32/),
      ]);
    });

    test('tensors that are missing, have another shape, or a dtype that is no float', async () => {
      const model = await tinyModel((tensors) => {
        delete tensors['model.layers.1.mlp.up_proj.weight'];
        tensors['model.layers.0.self_attn.k_proj.weight'] = { dtype: 'F16', shape: [16, 64] };
        tensors['model.layers.0.mlp.gate_proj.weight'] = { dtype: 'I8', shape: [128, 64] };
      });
      expect(await refusalsOf({ model })).toEqual([
        expect.stringMatching(
          /^InvalidModel \| model \| model\.layers\.1\.mlp\.up_proj\.weight is missing in the weight files/,
        ),
        expect.stringMatching(
          /^InvalidModel \| model\.layers\.0\.self_attn\.k_proj\.weight \| Its shape is \[16, 64\]; config\.json implies \[32, 64\]/,
        ),
        expect.stringMatching(
          /^UnsupportedInput \| model\.layers\.0\.mlp\.gate_proj\.weight \| Its dtype is I8; supported: F32, F16, BF16/,
        ),
      ]);
    });

    test('a missing head, embedding or final norm', async () => {
      const model = await tinyModel((tensors) => {
        for (const name of ['lm_head.weight', 'model.embed_tokens.weight', 'model.norm.weight']) delete tensors[name];
      });
      expect(await refusalsOf({ model })).toEqual([
        expect.stringMatching(/lm_head\.weight, model\.embed_tokens\.weight and model\.norm\.weight are missing/),
      ]);
    });

    test('a model that is quantized already, by config or by its tensors', async () => {
      const byConfig = await tinyModel(undefined, { quantization_config: { quant_method: 'awq' } });
      expect(await refusalsOf({ model: byConfig })).toEqual([
        'UnsupportedInput | model | The model is quantized already: config.json has a quantization_config (awq). Start from the 16-bit original, or quantize what its weights have become with --dequantize.',
      ]);
      const byTensors = await tinyModel((tensors) => {
        delete tensors['model.layers.0.mlp.up_proj.weight'];
        tensors['model.layers.0.mlp.up_proj.qweight'] = { dtype: 'F16', shape: [8, 128] };
      });
      expect(await refusalsOf({ model: byTensors })).toEqual([
        expect.stringContaining('it has the tensors model.layers.0.mlp.up_proj.qweight'),
      ]);
    });

    test('overrides that match nothing, with the names that were meant', async () => {
      const refusals = await refusalsOf({
        model: await tinyModel(),
        overrides: [{ match: 'model.layers.1.mlp.down', bits: 8 }],
      });
      expect(refusals).toEqual([
        expect.stringMatching(
          /^InvalidSpecification \| overrides \| "model\.layers\.1\.mlp\.down" matches no linear .* like model\.layers\.1\.mlp\.down_proj,/,
        ),
      ]);
    });

    test('a recipe that leaves nothing to do', async () => {
      const refusals = await refusalsOf({ model: await tinyModel(), overrides: [{ match: '*', skip: true }] });
      expect(refusals).toEqual([expect.stringMatching(/^PlanRefused \| overrides \| Every linear is kept in 16 bit/)]);
    });

    test('an output that exists, is a file, or lies in the model', async () => {
      const model = await tinyModel();
      await mkdir(output);
      expect(await refusalsOf({ model })).toEqual([
        `OutputExists | output | ${output} exists. Name another output, remove it, or set overwrite.`,
      ]);
      expect(await refusalsOf({ model, overwrite: true })).toEqual([]);
      await rm(output, { recursive: true });
      await writeFile(output, '');
      expect(await refusalsOf({ model, overwrite: true })).toEqual([expect.stringContaining('is a file')]);
      expect(await refusalsOf({ model, output: `${output}/deeper` })).toEqual([
        expect.stringMatching(/^OutputUnwritable .*output is not a directory/),
      ]);
      for (const wrong of [model, path.join(model, 'quantized'), directory]) {
        expect(await refusalsOf({ model, output: wrong, overwrite: true })).toEqual([
          expect.stringContaining('lie in one another'),
        ]);
      }
    });

    test('an output whose parent is not writable', async () => {
      const closed = path.join(directory, 'closed');
      await mkdir(closed);
      await chmod(directory, 0o755);
      await chmod(closed, 0o555);
      // Root may write everywhere, so the check is made by somebody else.
      const source = `
        const { planModel } = require(${JSON.stringify(path.join(__dirname, 'plan-model.ts'))});
        const { parseQuantizationSpec } = require(${JSON.stringify(path.join(ROOT, 'engine/spec'))});
        if (process.getuid() === 0) process.setuid(65534);
        const spec = parseQuantizationSpec({ model: 'demo', output: ${JSON.stringify(path.join(closed, 'output'))}, recipe: { method: 'rtn' } });
        planModel(spec).then(({ estimate }) => console.log(JSON.stringify(estimate.refusals)));`;
      const { stdout, stderr } = spawnSync(
        process.execPath,
        ['-r', path.join(ROOT, 'test/run-typescript.cjs'), '-e', source],
        { encoding: 'utf8' },
      );
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toEqual([
        expect.objectContaining({
          code: 'OutputUnwritable',
          where: 'output',
          message: expect.stringContaining(`${closed} is not writable`),
        }),
      ]);
    });

    test('a job that the disk has no room for, output and store together', async () => {
      const huge = { samples: 65536, sequenceLength: 131072 };
      const refusals = await refusalsOf({ calibration: huge, recipe: {} });
      expect(refusals).toEqual([
        expect.stringMatching(
          /^StoreFull \| output \| About \d{13,} bytes are needed in .* \(output and store\), \d+ are free/,
        ),
      ]);
      expect(await refusalsOf({ calibration: huge, recipe: {} }, null)).toEqual([]);
    });

    test('texts that are not there, and a model without a tokenizer', async () => {
      const model = await tinyModel();
      await rm(path.join(model, 'tokenizer.json'));
      await writeFile(path.join(directory, 'empty.txt'), '');
      const refusals = await refusalsOf({
        model,
        calibration: { ...fits.calibration, source: path.join(directory, 'none.txt') },
        evaluation: { text: path.join(directory, 'empty.txt'), context: 64 },
      });
      expect(refusals).toEqual([
        expect.stringMatching(/^InvalidCalibration \| calibration\.source \| .*none\.txt does not exist/),
        expect.stringMatching(/^InvalidText \| evaluation\.text \| .*empty\.txt is empty/),
        expect.stringMatching(/^InvalidModel \| model \| .*tokenizer\.json is missing/),
      ]);
    });

    test('an unsupported architecture, and tells the other reasons too', async () => {
      const model = await tinyModel(undefined, { architectures: ['MambaForCausalLM'], model_type: 'mamba' });
      await mkdir(output);
      const refusals = await refusalsOf({ model });
      expect(refusals).toEqual([
        expect.stringMatching(/^UnsupportedArchitecture \| model \| .*MambaForCausalLM/),
        expect.stringMatching(/^OutputExists/),
      ]);
    });

    test('everything at once', async () => {
      await mkdir(output);
      const model = await tinyModel((tensors) => delete tensors['model.norm.weight']);
      const refusals = await refusalsOf({
        model,
        recipe: { groupSize: 256 },
        overrides: [{ match: 'typo', bits: 8 }],
        calibration: { source: path.join(directory, 'none.txt') },
      });
      expect(refusals.map((refusal) => refusal.split(' | ')[0])).toEqual([
        'InvalidCalibration',
        'InvalidModel',
        'InvalidSpecification',
        'PlanRefused',
        'PlanRefused',
        'OutputExists',
      ]);
    });
  });

  test('throws for what cannot be planned at all', async () => {
    await expect(plan({ model: path.join(directory, 'nowhere') })).rejects.toMatchObject({ code: 'InvalidModel' });
    await expect(plan({ overrides: [{ match: 're:(' }] })).rejects.toMatchObject({ code: 'InvalidSpecification' });
  });

  describe('warns of', () => {
    async function warningsOf(input: Partial<QuantizationSpecInput>) {
      const { estimate } = await plan({ ...fits, model: await tinyModel(), ...input });
      expect(estimate.refusals).toEqual([]);
      return estimate.warnings;
    }

    test('sequences longer than the model was trained on', async () => {
      const warnings = await warningsOf({
        calibration: { sequenceLength: 65 },
        evaluation: { text: 'demo', context: 128 },
      });
      expect(warnings).toEqual([
        expect.stringMatching(/^calibration\.sequenceLength is 65, more than the 64 positions/),
        expect.stringMatching(/^evaluation\.context is 128, more than the 64 positions/),
      ]);
    });

    test.each([
      [
        [{ match: '*k_proj', bits: 8 }] as const,
        /q_proj \/ .*k_proj \/ .*v_proj and 1 more: different bits, group size or symmetry\. vLLM/,
      ],
      [
        [{ match: '*.1.mlp.up_proj', groupSize: 64 }] as const,
        /^model\.layers\.1\.mlp\.gate_proj \/ model\.layers\.1\.mlp\.up_proj: different/,
      ],
      [
        [{ match: '*.0.mlp.gate_proj', skip: true }] as const,
        /^model\.layers\.0\.mlp\.gate_proj \/ model\.layers\.0\.mlp\.up_proj: different/,
      ],
    ])('linears that runtimes fuse and that are quantized differently: %j', async (overrides, message) => {
      expect(await warningsOf({ overrides: [...overrides] })).toEqual([expect.stringMatching(message)]);
    });

    test('not of linears that no runtime of the format fuses', async () => {
      const overrides = [{ match: '*.0.*.k_proj', bits: 8 as const }];
      const of = async (formats: QuantizationSpecInput['formats']) =>
        (await plan({ recipe: { groupSize: 64 }, overrides, formats })).estimate.warnings.join();
      expect(await of(['gguf'])).not.toContain('vLLM');
      expect(await of(['gguf', 'gptq'])).toContain('vLLM');
    });

    test('nothing when whole fused groups differ from each other', async () => {
      expect(
        await warningsOf({
          overrides: [
            { match: 're:[qkv]_proj', bits: 8 },
            { match: '*down_proj', groupSize: 64 },
          ],
        }),
      ).toEqual([]);
    });

    test('asymmetric weights in the format gptq, not in gptq_v2', async () => {
      const asymmetric = { symmetric: false, groupSize: 32 } as const;
      expect(await warningsOf({ recipe: asymmetric, formats: ['gptq'] })).toEqual([
        expect.stringMatching(/and 13 more are asymmetric: the format gptq cannot hold the zero point 0/),
      ]);
      expect(await warningsOf({ recipe: asymmetric })).toEqual([]);
    });

    test('tensors that the architecture does not know, which are copied', async () => {
      const model = await tinyModel((tensors) => {
        tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = { dtype: 'F32', shape: [8] };
        tensors['model.layers.2.mlp.up_proj.weight'] = { dtype: 'F16', shape: [2, 2] };
      });
      expect(await warningsOf({ model })).toEqual([
        'model.layers.2.mlp.up_proj.weight: not part of the architecture llama, copied as it is.',
      ]);
    });
  });

  describe('other architectures', () => {
    const refusalsOf = async (name: TinyModelName, input: Partial<QuantizationSpecInput>) => {
      const recipe = { groupSize: 32 } as const;
      const { estimate } = await plan({ model: tinyModelDirectory(name), recipe, ...input });
      return estimate.refusals.map(({ where, message }) => `${where}: ${message}`);
    };
    const calibration = { samples: 8, sequenceLength: 25 };

    test('refuse sequences that are longer than they have positions, not those longer than a window', async () => {
      expect(await refusalsOf('mistral-window', { calibration })).toEqual([]);
      expect(await refusalsOf('qwen2-plain', { calibration })).toEqual([]);
      expect(await refusalsOf('gpt2-bare', { calibration: { samples: 8, sequenceLength: 65 } })).toEqual([
        expect.stringContaining(
          'more than the 64 that a sequence of this model can have here (config.json: n_positions)',
        ),
      ]);
    });

    test('refuse a rotation that would change what they compute', async () => {
      expect(await refusalsOf('gpt2-tied', { calibration, rotation: 'hadamard' })).toEqual([
        expect.stringMatching(/^rotation: A rotation would change what the architecture gpt2 computes/),
      ]);
      expect(await refusalsOf('gemma2-plain', { calibration, rotation: 'hadamard' })).toEqual([
        expect.stringMatching(/^rotation: .* gemma2 computes: its norms are not .*, or stand behind a branch too/),
      ]);
      expect(await refusalsOf('qwen3-plain', { calibration, rotation: 'hadamard' })).toEqual([]);
    });

    test('refuse a format that has no names for them', async () => {
      expect(await refusalsOf('opt-tied', { calibration, formats: ['gguf'] })).toEqual([
        expect.stringContaining('opt has no name in GGUF, or none that Quantloom knows. Supported: llama'),
      ]);
    });

    test('refuse to scale channels where nothing takes the scales up, and say what stays unscaled', async () => {
      const scaling = 'awq';
      expect(await refusalsOf('gpt2-tied', { calibration, scaling })).toEqual([
        expect.stringMatching(/^scaling: No linear of this gpt2 can be scaled: its weights are stored transposed/),
      ]);
      expect(await refusalsOf('qwen3-plain', { calibration, scaling, recipe: { method: 'nf4' } })).toEqual([
        expect.stringMatching(/^scaling: Scales are searched for the integer grids of awq, gptq and rtn/),
      ]);
      const model = tinyModelDirectory('qwen3-plain');
      const recipe = { method: 'awq', groupSize: 32 } as const;
      const { plan: made, estimate } = await plan({
        model,
        recipe,
        calibration,
        overrides: [{ match: '*.1.mlp.up_proj', skip: true }],
      });
      expect(estimate.refusals).toEqual([]);
      expect(estimate.warnings.slice(1)).toEqual([
        'model.layers.1.mlp.gate_proj and 1 more: quantized without scaling. Nothing before takes the scales up, or a linear that shares them is kept in 16 bit.',
      ]);
      expect(made.slices).toHaveLength(1);
      expect(estimate.peakMemoryBytes['scale-block']).toBeGreaterThan(0);
    });

    test('with experts say what is kept, which experts may starve, and which formats hold them', async () => {
      const model = tinyModelDirectory('qwen2moe-shared');
      const recipe = { groupSize: 32 } as const;
      const warned = async (changes: Partial<QuantizationSpecInput>) =>
        (await plan({ model, recipe, calibration, ...changes })).estimate.warnings;
      const [routers, starved, mismatch] = await warned({});
      expect(routers).toMatch(
        /^Routers are never quantized: model.layers.0.mlp.gate.weight, .*shared_expert_gate.weight and 2 more/,
      );
      expect(starved).toMatch(
        /^An expert sees about \d+ of the \d+ calibration tokens, .* up to 64 columns: .*--all-experts/,
      );
      expect(mismatch).toMatch(/^mismatch is left out for experts/);
      expect(await warned({ calibration: { ...calibration, allExperts: true }, order: 'layer' })).toEqual([
        routers,
        'Every token calibrates all 6 experts of a layer, of which it passes 3: as many times the work.',
      ]);
      expect(await warned({ recipe: { method: 'rtn', groupSize: 32 } })).toEqual([routers]);
      expect(await warned({ model: 'demo', calibration: { ...calibration, allExperts: true } })).toContain(
        'allExperts is left out: this model has no experts.',
      );
      expect(await refusalsOf('mixtral-grouped', { calibration, formats: ['onnx', 'gguf'] })).toEqual([]);
      const bitsandbytes = { recipe: { method: 'nf4' }, formats: ['bitsandbytes'] } as const;
      expect(await refusalsOf('mixtral-grouped', { calibration, ...bitsandbytes } as never)).toEqual([
        expect.stringMatching(/experts.0.w1.*no reader of it knows experts that are quantized one by one/),
      ]);
      const sliced = { ...calibration, samples: 4800, sliceTokens: 8, sequenceLength: 8 };
      expect(await refusalsOf('mixtral-grouped', { calibration: sliced })).toEqual([
        'calibration.sliceTokens: 8 tokens a slice make 4800 slices; with 4 experts a layer there can be 1750. Make it 22 or more.',
      ]);
    });

    test('have the names that transformers writes, and leave masks behind', async () => {
      const model = tinyModelDirectory('gpt2-bare');
      const { plan: made, estimate } = await plan({ model, recipe: { groupSize: 32 }, calibration });
      expect(estimate.warnings).toEqual([]);
      expect(made.tensors['transformer.h.1.mlp.c_fc.weight']).toMatchObject({
        name: 'transformer.h.1.mlp.c_fc.weight',
        storedAs: 'h.1.mlp.c_fc.weight',
        shape: [32, 96],
      });
      expect(made.blocks[1]?.stages[2]?.linears).toMatchObject([
        { name: 'transformer.h.1.mlp.c_fc', rows: 96, columns: 32, bias: true },
      ]);
      expect([...made.remainder].sort()).toEqual([
        'lm_head.weight',
        'transformer.ln_f.bias',
        'transformer.ln_f.weight',
        'transformer.wpe.weight',
        'transformer.wte.weight',
      ]);
    });
  });

  test('leaves nothing behind', async () => {
    await plan({ calibration: { sequenceLength: 512 } });
    expect(await readdir(directory)).toEqual([]);
  });
});
