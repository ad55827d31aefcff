import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createManifest,
  type FormatName,
  formatOf,
  type Manifest,
  serializeManifest,
  serializeSafetensors,
  weightSha256,
} from '../../engine/checkpoints';
import { architectureOf } from '../../engine/models';
import { encodeFloats } from '../../engine/numbers';
import type { AffineLinear } from '../../engine/quantizers/grids/affine-grid';
import { type LinearPlan, parseQuantizationSpec, type Recipe, RecipeSchema, type Tensor } from '../../engine/spec';

export const TINY_CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 32,
  vocab_size: 64,
  hidden_act: 'silu',
  tie_word_embeddings: true,
};

/** What a checkpoint was written from, to compare with what is read. */
export interface TinyCheckpoint {
  readonly directory: string;
  readonly linears: ReadonlyMap<string, AffineLinear>;
  readonly manifest: Manifest;
}

/**
 * Writes a checkpoint of a two-layer Llama with random codes: layer files, an index and a manifest, as a job does.
 *
 * @param recipeOf null keeps the linear in 16 bit. Default: 4 bits, group 32, symmetric.
 */
export async function writeTinyCheckpoint(
  directory: string,
  {
    format: name = 'gptq',
    recipeOf = () => RecipeSchema.parse({ method: 'rtn', groupSize: 32 }),
  }: { readonly format?: FormatName; readonly recipeOf?: (module: string) => Recipe | null } = {},
): Promise<TinyCheckpoint> {
  await mkdir(directory, { recursive: true });
  const next = randomNumbers(7);
  const format = formatOf(name);
  const architecture = architectureOf(TINY_CONFIG);
  const shape = architecture.shape(TINY_CONFIG);
  const blocks = architecture.blocks(shape, () => false);
  const plans: LinearPlan[] = blocks.flatMap(({ stages }) =>
    stages.flatMap(({ captures }) =>
      captures.map((linear) => ({ ...linear, recipe: linear.name === 'lm_head' ? null : recipeOf(linear.name) })),
    ),
  );
  const layout = format.layout(plans);
  const linears = new Map<string, AffineLinear>();
  const files = new Map<string, Uint8Array>();
  const weightMap: Record<string, string> = {};
  const addShard = (number: number, tensors: Map<string, Tensor>) => {
    const file = `model-${String(number).padStart(5, '0')}-of-00003.safetensors`;
    for (const tensor of tensors.keys()) weightMap[tensor] = file;
    files.set(file, serializeSafetensors(tensors));
  };
  const dense = (size: readonly number[]): Tensor => {
    const values = Float32Array.from({ length: size.reduce((a, b) => a * b, 1) }, () => next(2001) / 1000 - 1);
    return { dtype: 'F16', shape: size, data: encodeFloats(values, 'F16') };
  };

  blocks.slice(0, -1).forEach((block, index) => {
    const tensors = new Map<string, Tensor>();
    for (const [tensor, size] of block.tensors) {
      const plan = plans.find((candidate) => `${candidate.name}.weight` === tensor);
      if (!plan?.recipe) {
        tensors.set(tensor, dense(size));
        continue;
      }
      const linear = randomLinear(plan, plan.recipe, next);
      linears.set(plan.name, linear);
      for (const [part, value] of format.encodeLinear(plan.name, linear, layout)) tensors.set(part, value);
    }
    addShard(index + 1, tensors);
  });
  addShard(
    3,
    new Map(
      [architecture.embedding, architecture.finalNorm].map((tensor) => [
        tensor,
        dense(tensor === architecture.embedding ? [64, 64] : [64]),
      ]),
    ),
  );

  const context = { sourceConfig: TINY_CONFIG, linears: plans, layout, order: 'stage', version: '0.1.0' } as const;
  const text = (file: string, content: string) => files.set(file, Buffer.from(content));
  text('model.safetensors.index.json', JSON.stringify({ metadata: {}, weight_map: weightMap }));
  text('config.json', JSON.stringify(format.config(context)));
  for (const [file, content] of format.files(context)) text(file, content);

  const listed = [...files].map(([file, content]) => ({
    name: file,
    bytes: content.byteLength,
    sha256: sha256(content),
  }));
  const manifest = createManifest({
    quantloom: '0.1.0',
    format: name,
    layout,
    source: { architecture: 'llama', configSha256: sha256(Buffer.from(JSON.stringify(TINY_CONFIG))), files: [] },
    spec: parseQuantizationSpec({ model: '/somewhere/tiny', output: '/elsewhere/out', recipe: { method: 'rtn' } }),
    linears: Object.fromEntries(
      plans.map(({ name: module, rows, columns, recipe }) => {
        const linear = linears.get(module);
        return [module, { rows, columns, recipe, weightSha256: linear ? weightSha256(linear) : null }];
      }),
    ),
    calibration: null,
    reports: [],
    bitsPerWeight: 4.6,
    perplexity: null,
    versions: { node: 'v20' },
    files: listed,
    run: { job: null, started: '2026-01-01T00:00:00Z', seconds: 1, computed: 1, cached: 0 },
  });
  text('quantloom.json', serializeManifest(manifest));
  for (const [file, content] of files) await writeFile(join(directory, file), content);
  return { directory, linears, manifest };
}

function randomLinear({ rows, columns }: LinearPlan, recipe: Recipe, next: (limit: number) => number): AffineLinear {
  const { bits, symmetric } = recipe;
  const groupSize = recipe.groupSize === -1 ? columns : recipe.groupSize;
  const groups = Math.ceil(columns / groupSize);
  return {
    kind: 'affine',
    rows,
    columns,
    bits,
    groupSize,
    symmetric,
    codes: Uint8Array.from({ length: rows * columns }, () => next(2 ** bits)),
    zeros: Uint8Array.from({ length: rows * groups }, () => (symmetric ? 2 ** (bits - 1) : 1 + next(2 ** bits - 1))),
    scales: Float32Array.from({ length: rows * groups }, () => (1 + next(2047)) / 8192),
    groupOf: Int32Array.from({ length: columns }, (_, column) => Math.floor(column / groupSize)),
  };
}

/** Numbers below a limit from a linear congruential generator. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % limit;
  };
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
