import { recipeAtWidth } from '../planning/recipe-at-width';
import { leavesBitsOpen } from '../planning/resolve-recipe';
import type { BlockPlan, LinearPlan, QuantizationSpec, Recipe, WidthErrors, WidthPlan } from '../spec';
import { allocateWidths } from './allocate-widths';

/** The linears of a model by who needs the same width as whom. */
export interface OpenWidths {
  /** Linears that share an input, which runtimes load as one matrix. */
  readonly groups: readonly (readonly LinearPlan[])[];
  /** Linears whose bits an override gives. */
  readonly fixed: readonly LinearPlan[];
}

export function openWidths(
  blocks: readonly Pick<BlockPlan, 'stages'>[],
  spec: Pick<QuantizationSpec, 'overrides'>,
): OpenWidths {
  const stages = blocks.flatMap(({ stages }) => stages.map(({ linears }) => linears.filter(({ recipe }) => recipe)));
  const isOpen = ({ name }: LinearPlan) => leavesBitsOpen(spec, name);
  return {
    groups: stages.map((linears) => linears.filter(isOpen)).filter(({ length }) => length > 0),
    fixed: stages.flatMap((linears) => linears.filter((linear) => !isOpen(linear))),
  };
}

/** The mean of bits that the open linears may have, when all together have `averageBits`. */
export function averageOfOpen({ groups, fixed }: OpenWidths, averageBits: number): number {
  const open = sum(groups.flat().map(weightsOf));
  const fixedBits = sum(fixed.map((linear) => weightsOf(linear) * (linear.recipe?.bits as number)));
  return (averageBits * (open + sum(fixed.map(weightsOf))) - fixedBits) / open;
}

/**
 * Chooses the width of every linear that has none of its own, so that the mean of bits over all quantized weights is as close to
 * `averageBits` as it gets from below, and the sum over linears of relative output error times weights is least (docs/adr/0016).
 *
 * @param measured the errors of every open linear at every width of `mixedWidths`.
 */
export function chooseWidths(
  blocks: readonly BlockPlan[],
  spec: Pick<QuantizationSpec, 'overrides' | 'averageBits' | 'mixedWidths'>,
  measured: readonly WidthErrors[],
): WidthPlan {
  const linears = openWidths(blocks, spec);
  const { groups, fixed } = linears;
  const errors = new Map(measured.map((linear) => [linear.name, linear]));
  const widths = [...spec.mixedWidths].sort((a, b) => a - b);
  const chosen = allocateWidths(
    groups.map((group) => ({
      weights: sum(group.map(weightsOf)),
      choices: widths.map((width) => ({
        bits: width,
        error: sum(group.map((linear) => weightsOf(linear) * errorAt(errors.get(linear.name), width))),
      })),
    })),
    averageOfOpen(linears, spec.averageBits as number),
  );
  const bits: Record<string, Recipe['bits']> = {};
  for (const [position, group] of groups.entries()) {
    for (const { name } of group) bits[name] = chosen[position] as Recipe['bits'];
  }
  const all = [...groups.flat(), ...fixed];
  const used = sum(all.map((linear) => weightsOf(linear) * (bits[linear.name] ?? (linear.recipe?.bits as number))));
  return { bits, averageBits: used / sum(all.map(weightsOf)) };
}

/** The blocks with the widths that were chosen. */
export function withWidths(
  blocks: readonly BlockPlan[],
  { bits }: WidthPlan,
  spec: Pick<QuantizationSpec, 'quality' | 'recipe'>,
): BlockPlan[] {
  const recipeOf = ({ name, recipe }: LinearPlan) => {
    const width = bits[name];
    return recipe && width ? recipeAtWidth(recipe, width, spec) : recipe;
  };
  return blocks.map((block) => ({
    ...block,
    stages: block.stages.map((stage) => ({
      ...stage,
      linears: stage.linears.map((linear) => ({ ...linear, recipe: recipeOf(linear) })),
    })),
  }));
}

function errorAt(linear: WidthErrors | undefined, bits: Recipe['bits']): number {
  return linear?.errors.find((choice) => choice.bits === bits)?.error as number;
}

function weightsOf({ rows, columns }: LinearPlan): number {
  return rows * columns;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
