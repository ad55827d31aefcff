import { CHECKPOINT_FORMATS, type CheckpointFormat, formatOf } from '../checkpoints';
import { gridKindOf, METHODS, refuseRecipe } from '../quantizers';
import type { BlockPlan, LinearPlan, Override, QuantizationSpec, Recipe } from '../spec';
import { closestNames } from './closest-names';
import { type Findings, listed } from './findings';
import { recipeAtWidth } from './recipe-at-width';
import { leavesBitsOpen, unmatchedOverrides } from './resolve-recipe';

const GROUP_SIZES = [256, 128, 64, 32, 16] as const;

/** An override that matches nothing would be noticed after hours, in the result. */
export function checkOverrides(
  spec: QuantizationSpec,
  linears: readonly LinearPlan[],
  head: string,
  findings: Findings,
): void {
  const names = linears.map(({ name }) => name);
  for (const { match } of unmatchedOverrides(spec, [...names, head])) {
    const hint = match.startsWith('re:') ? names.slice(0, 3) : closestNames(match, names);
    findings.refuse(
      'InvalidSpecification',
      'overrides',
      `${JSON.stringify(match)} matches no linear of the model. Names are like ${listed(hint)}.`,
    );
  }
  if (!spec.keepHead) return;
  const matchesHead = (override: Override) => unmatchedOverrides({ overrides: [override] }, [head]).length === 0;
  for (const override of unmatchedOverrides(spec, names)) {
    if (override.skip || !matchesHead(override)) continue;
    findings.warn(
      `The override ${JSON.stringify(override.match)} is for ${head} only, which stays in 16 bit. Set keepHead to false to quantize it.`,
    );
  }
}

/** Refuses what the quantizers or the formats asked for cannot do. Linears with the same trouble share a refusal. */
export function checkLinears(linears: readonly LinearPlan[], spec: QuantizationSpec, findings: Findings): void {
  const troubles = new Map<string, string[]>();
  const note = (message: string, name: string) => troubles.set(message, [...(troubles.get(message) ?? []), name]);
  for (const linear of linears) {
    if (linear.recipe === null) continue;
    const { recipe } = linear;
    const trouble = gridKindOf(recipe) === 'affine' ? groupTrouble(linear.columns, recipe.groupSize) : null;
    if (trouble !== null) note(trouble, linear.name);
    // A block type has the widths that it has.
    const open =
      spec.averageBits !== null && !recipe.blockType && !recipe.floatType && leavesBitsOpen(spec, linear.name);
    for (const bits of open ? spec.mixedWidths : [recipe.bits]) {
      const planned = { ...linear, recipe: open ? recipeAtWidth(recipe, bits, spec) : recipe };
      const refusal = refuseRecipe(planned.recipe);
      if (refusal !== null) note(refusal, linear.name);
      for (const name of spec.formats) {
        const format = formatOf(name);
        const refused = gridTrouble(recipe, format) ?? format.refuse(planned);
        if (refused !== null) note(`Format ${name}: ${refused}`, linear.name);
      }
    }
  }
  const rounded = linears.filter(({ recipe }) => recipe?.activations).map(({ name }) => name);
  for (const [message, names] of troubles) findings.refuse('PlanRefused', listed(names), message);
  for (const name of spec.formats) {
    const refused = troubles.size === 0 ? formatOf(name).refuseTogether?.(linears) : null;
    if (refused) findings.refuse('PlanRefused', 'overrides', `Format ${name}: ${refused}`);
    const warning = troubles.size === 0 ? formatOf(name).warn?.(linears) : null;
    if (warning) findings.warn(`Format ${name}: ${warning}`);
    if (rounded.length > 0 && !formatOf(name).quantizesActivations) {
      findings.warn(
        `Format ${name}: it holds weights alone. Its readers, and its perplexity here, leave activations as they are (${listed(rounded, 1)}).`,
      );
    }
  }

  const asymmetric = linears.filter(({ recipe }) => recipe !== null && !recipe.symmetric).map(({ name }) => name);
  const lossy = spec.formats.filter((format) => formatOf(format).smallestZero > 0);
  if (lossy.length > 0 && asymmetric.length > 0) {
    findings.warn(
      `${listed(asymmetric, 1)} ${asymmetric.length === 1 ? 'is' : 'are'} asymmetric: the format ${lossy.join(', ')} cannot hold the zero point 0, so one level is lost. ` +
        'The format gptq_v2 holds them all.',
    );
  }
}

/** A format holds some kinds of grids, and a method quantizes to one. */
function gridTrouble(recipe: Recipe, { name, grids }: CheckpointFormat): string | null {
  const { method } = recipe;
  const grid = gridKindOf(recipe);
  if (grids.includes(grid)) return null;
  if (recipe.blockType) {
    return `it holds no blocks of GGUF, and blockType is ${recipe.blockType}. Write the format gguf, or leave blockType out.`;
  }
  // Mixes are variants of a format that is named.
  const formats = Object.values(CHECKPOINT_FORMATS).filter(
    (format) => format.grids.includes(grid) && !format.planRecipes,
  );
  if (recipe.floatType) {
    return `it holds no weights in ${recipe.floatType}. Write the format ${listedOr(formats)}, or leave floatType out.`;
  }
  const methods = Object.values(METHODS).filter(
    (other) => !('takesStored' in other) && other.grids.some((kind) => grids.includes(kind)),
  );
  return (
    `it cannot hold what the method ${method} makes. Write the format ${listedOr(formats)}; or for ${name} ` +
    `use the method ${listedOr(methods)}.`
  );
}

function listedOr(entries: readonly { readonly name: string }[]): string {
  return entries
    .map(({ name }) => name)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1');
}

function groupTrouble(columns: number, groupSize: number): string | null {
  if (groupSize === -1 || columns % groupSize === 0) return null;
  const fitting = [...GROUP_SIZES.filter((size) => columns % size === 0), -1];
  return (
    `${columns} columns are not divisible by the group size ${groupSize}. ` +
    `Group sizes that fit: ${fitting.join(', ')} (-1: the whole row); set recipe.groupSize, or an override for these modules.`
  );
}

/**
 * vLLM and SGLang load the linears that share an input as one matrix (q, k, v; gate, up), so these need equal bits, group size and
 * symmetry.
 */
export function warnOfUnequalFused(
  blocks: readonly BlockPlan[],
  formats: QuantizationSpec['formats'],
  findings: Findings,
): void {
  if (formats.every((format) => formatOf(format).keptApart)) return;
  const unequal = blocks
    .flatMap((block) => block.stages)
    .filter(({ linears }) => new Set(linears.map(storage)).size > 1)
    .map(({ linears }) => linears.map(({ name }) => name).join(' / '));
  if (unequal.length === 0) return;
  findings.warn(
    `${listed(unequal, 1)}: different bits, group size or symmetry. vLLM and SGLang load them as one matrix and need them equal; other runtimes do not.`,
  );
}

function storage({ recipe }: LinearPlan): string {
  return recipe === null
    ? '16 bit'
    : [
        ...[recipe.bits, recipe.groupSize, recipe.symmetric, recipe.actOrder === 'dynamic'],
        ...[recipe.floatType, recipe.activations],
      ].join();
}
