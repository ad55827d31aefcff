import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { architectureOf } from '../../models';
import { decodeFloats } from '../../numbers';
import { quantizeLinear } from '../../quantizers';
import type { AffineLinear } from '../../quantizers/grids/affine-grid';
import { embeddingBits, type Recipe, type Tensor } from '../../spec';
import type { KeptStorage, KeptTensor, PlanOfKept } from '../format';
import type { RecordedLinear } from '../recorded-linears';
import { packedTensors } from './nbits-tensors';
import { type NBitsWeight, nbitsWeight } from './nbits-weight';

/** Weights that are quantized at a time: what is there of them in float32, and between two turns of the event loop. */
const WEIGHTS_AT_ONCE = 1 << 21;

/** The embedding, where the plan has integers for it. @param bitsPerWeight of the file, of a recipe and columns. */
export function keptInIntegers(
  plan: PlanOfKept,
  bitsPerWeight: (recipe: Recipe, columns: number) => number,
): KeptStorage {
  const { embedding, embeddingRecipe: recipe, tensors } = plan;
  if (!embedding || !recipe) return {};
  const name = embeddingOf(plan);
  return { [name]: { as: embedding, bitsPerWeight: bitsPerWeight(recipe, tensors[name]?.shape[1] as number), recipe } };
}

/** Modules of kept tensors that are stored as quantized linears are. */
export function modulesInIntegers(plan: PlanOfKept): string[] {
  return plan.embeddingRecipe ? [embeddingOf(plan).replace(/\.weight$/, '')] : [];
}

/** Why the embedding cannot be stored as the plan has it, and what to do; null: it can. */
export function refuseEmbedding(plan: PlanOfKept): string | null {
  const { embedding, embeddingRecipe: recipe, tensors } = plan;
  if (embedding && !embeddingBits(embedding)) {
    return `it has integers for the embedding, no blocks of ${embedding}. Set embedding to int4 or int8, or write gguf.`;
  }
  const columns = tensors[embeddingOf(plan)]?.shape[1] as number;
  if (!recipe || recipe.groupSize === -1 || columns % recipe.groupSize === 0) return null;
  return `the embedding has rows of ${columns}, which the group size ${recipe.groupSize} does not divide. Set another recipe.groupSize, or leave embedding out.`;
}

/**
 * A kept tensor as a shard has it. An embedding in integers is rounded to nearest, some rows at a time.
 *
 * @throws QuantloomError NonFiniteWeights.
 */
export async function encodeKept(name: string, tensor: Tensor, kept?: KeptTensor): Promise<Map<string, Tensor>> {
  const { recipe } = kept ?? {};
  if (!recipe) return new Map([[name, tensor]]);
  const module = name.replace(/\.weight$/, '');
  return packedTensors(module, await quantizedTable(module, tensor, recipe));
}

/** What verification needs of it, by module. */
export function recordKept(storage: KeptStorage): Record<string, RecordedLinear> {
  return Object.fromEntries(
    Object.entries(storage).flatMap(([name, { recipe }]) => {
      if (!recipe) return [];
      const { bits, groupSize, symmetric } = recipe;
      return [[name.replace(/\.weight$/, ''), { bits, groupSize, symmetric, weightSha256: null }]];
    }),
  );
}

function embeddingOf({ config, tensors }: PlanOfKept): string {
  return architectureOf(config, (name) => name in tensors).embedding;
}

/** Rows do not depend on one another: it is the same as the whole at once. */
async function quantizedTable(module: string, tensor: Tensor, recipe: Recipe): Promise<NBitsWeight> {
  const [rows, columns] = tensor.shape as [number, number];
  const rowBytes = tensor.data.length / rows;
  const rowsAtOnce = Math.max(1, Math.floor(WEIGHTS_AT_ONCE / columns));
  const parts: NBitsWeight[] = [];
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - first);
    const data = tensor.data.subarray(first * rowBytes, (first + count) * rowBytes);
    const weight = decodeFloats({ ...tensor, shape: [count, columns], data });
    const name = first === 0 ? module : `${module}[${first}:]`;
    const { linear } = await quantizeLinear({
      weight,
      rows: count,
      columns,
      hessian: null,
      recipe,
      minimumZero: 0,
      name,
    });
    parts.push(nbitsWeight(module, linear as AffineLinear));
    await yieldToEventLoop();
  }
  return stacked(parts);
}

function stacked(parts: readonly NBitsWeight[]): NBitsWeight {
  const [first] = parts as readonly [NBitsWeight];
  const zeroPoints = parts.flatMap((part) => part.zeroPoints ?? []);
  return {
    ...first,
    rows: parts.reduce((sum, { rows }) => sum + rows, 0),
    weight: joined(
      parts.map(({ weight }) => weight),
      Uint8Array,
    ),
    scales: joined(
      parts.map(({ scales }) => scales),
      Float32Array,
    ),
    zeroPoints: zeroPoints.length > 0 ? joined(zeroPoints, Uint8Array) : null,
  };
}

function joined<T extends Uint8Array | Float32Array>(parts: readonly T[], Kind: new (length: number) => T): T {
  const all = new Kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
