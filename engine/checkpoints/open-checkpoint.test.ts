import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTinyCheckpoint } from '../../test/support/tiny-checkpoint';
import { RecipeSchema } from '../spec';
import { dequantizeLinear } from './dequantize-linear';
import { openCheckpoint } from './open-checkpoint';

const DEMO = join(__dirname, '../../assets/demo-model');
const Q0 = 'model.layers.0.self_attn.q_proj';
const O0 = 'model.layers.0.self_attn.o_proj';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-open-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('a GPTQ checkpoint', () => {
  it('has the names and shapes of the dense model', async () => {
    await writeTinyCheckpoint(directory, {
      recipeOf: (module) => (module === O0 ? null : RecipeSchema.parse({ method: 'rtn', bits: 3, groupSize: 64 })),
    });
    const reader = await openCheckpoint(directory);
    expect(reader.kind).toBe('gptq');
    expect(reader.names()).toHaveLength(2 * (7 + 2) + 2);
    expect(reader.names().filter((name) => !name.endsWith('.weight'))).toEqual([]);
    expect(await reader.shape('model.layers.1.self_attn.k_proj.weight')).toEqual([32, 64]);
    expect(await reader.shape('model.layers.1.mlp.down_proj.weight')).toEqual([64, 96]);
    expect([`${Q0}.weight`, `${O0}.weight`, `${Q0}.qweight`, `${Q0}.bias`, 'lm_head.weight'].map(reader.has)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('gives back the codes and their dequantized weights, and dense tensors as they are', async () => {
    const { linears } = await writeTinyCheckpoint(directory, {
      format: 'gptq_v2',
      recipeOf: (module) =>
        module === O0 ? null : RecipeSchema.parse({ method: 'rtn', bits: 2, groupSize: 32, symmetric: false }),
    });
    const reader = await openCheckpoint(directory);
    const meant = linears.get(Q0);
    expect(await reader.linear(Q0)).toEqual(meant);
    expect(await reader.linear(O0)).toBeNull();
    expect(await reader.float(`${Q0}.weight`)).toEqual(dequantizeLinear(meant as NonNullable<typeof meant>));
    expect((await reader.float(`${O0}.weight`)).shape).toEqual([64, 64]);
  });

  it('of AutoGPTQ, with its settings in quantize_config.json only, is read', async () => {
    const { linears } = await writeTinyCheckpoint(directory);
    const path = join(directory, 'config.json');
    const { quantization_config, ...config } = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify(config));
    const { bits, group_size, sym, desc_act } = quantization_config;
    await writeFile(join(directory, 'quantize_config.json'), JSON.stringify({ bits, group_size, sym, desc_act }));
    expect(await (await openCheckpoint(directory)).linear(Q0)).toEqual(linears.get(Q0));
  });

  it('of compressed-tensors is read the same', async () => {
    const { linears } = await writeTinyCheckpoint(directory, {
      format: 'compressed-tensors',
      recipeOf: (module) =>
        module === O0 ? null : RecipeSchema.parse({ method: 'rtn', bits: 3, groupSize: 32, symmetric: false }),
    });
    const reader = await openCheckpoint(directory);
    expect(reader.kind).toBe('compressed-tensors');
    expect(reader.names()).toHaveLength(2 * (7 + 2) + 2);
    expect(reader.names().filter((name) => !name.endsWith('.weight'))).toEqual([]);
    expect(await reader.shape('model.layers.1.mlp.down_proj.weight')).toEqual([64, 96]);
    expect([`${Q0}.weight`, `${O0}.weight`, `${Q0}.weight_packed`].map(reader.has)).toEqual([true, true, false]);
    for (const [module, linear] of linears) expect(await reader.linear(module)).toEqual(linear);
    expect(await reader.linear(O0)).toBeNull();
  });

  it('of another method is refused', async () => {
    await writeTinyCheckpoint(directory);
    const path = join(directory, 'config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...config, quantization_config: { quant_method: 'hqq' } }));
    await expect(openCheckpoint(directory)).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining('quant_method is "hqq"'),
    });
  });

  it('without a shard of its index is refused', async () => {
    await writeTinyCheckpoint(directory);
    await rm(join(directory, 'model-00002-of-00003.safetensors'));
    await expect(openCheckpoint(directory)).rejects.toMatchObject({
      code: 'InvalidCheckpoint',
      message: expect.stringContaining('model-00002-of-00003.safetensors'),
    });
  });
});

describe('a dense checkpoint', () => {
  it('is read in float32', async () => {
    const reader = await openCheckpoint(DEMO);
    expect(reader.kind).toBe('dense');
    expect(await reader.shape('model.embed_tokens.weight')).toEqual([2048, 256]);
    const { data } = await reader.float('model.norm.weight');
    expect(data).toHaveLength(256);
    // bfloat16 keeps the upper half of a float32.
    expect(new Uint32Array(data.buffer).every((bits) => (bits & 0xffff) === 0)).toBe(true);
    expect(await reader.linear('model.layers.0.mlp.up_proj')).toBeNull();
    await expect(reader.float('nothing')).rejects.toMatchObject({ code: 'InvalidCheckpoint' });
  });
});
