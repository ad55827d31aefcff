import {
  type Override,
  type QuantizationSpec,
  QuantloomError,
  RECIPE_PER_TENSOR,
  type Recipe,
  recipeOfFloats,
} from '../spec';

type Matching = Pick<QuantizationSpec, 'overrides'>;

/**
 * The recipe of one module: the spec's, with the fields of every override that matches, in order; null keeps it in 16 bit.
 *
 * @throws QuantloomError InvalidSpecification naming an override whose regular expression is not one.
 */
export function resolveRecipe(spec: Matching & Pick<QuantizationSpec, 'recipe'>, moduleName: string): Recipe | null {
  const matching = spec.overrides.filter((override, index) => matcherOf(override, index)(moduleName));
  const fields = matching.flatMap(({ match: _, ...override }) => Object.entries(override));
  const given = Object.fromEntries(fields.filter(([, value]) => value !== undefined)) as Partial<Recipe> & {
    skip?: boolean;
  };
  const { skip, activations, perTensor, ...recipe } = { skip: false, ...spec.recipe, ...given };
  if (skip) return null;
  const hasGroups = !given.perTensor && (given.groupSize ?? -1) !== -1;
  return {
    ...recipe,
    ...(activations !== undefined && activations !== 'none' && { activations }),
    // As the specification's own recipe has them.
    ...(recipe.floatType && recipeOfFloats(recipe.floatType)),
    ...(perTensor && !hasGroups && { perTensor, ...RECIPE_PER_TENSOR }),
  };
}

/** Whether no override gives the bits of a module. @throws as resolveRecipe. */
export function leavesBitsOpen(spec: Matching, moduleName: string): boolean {
  return !spec.overrides.some(
    (override, index) => override.bits !== undefined && matcherOf(override, index)(moduleName),
  );
}

/** Overrides that match none of the modules: most likely misspelt. @throws as resolveRecipe. */
export function unmatchedOverrides(spec: Matching, moduleNames: readonly string[]): readonly Override[] {
  return spec.overrides.filter((override, index) => !moduleNames.some(matcherOf(override, index)));
}

const matchers = new WeakMap<Override, (moduleName: string) => boolean>();

/**
 * `re:` and a regular expression: found anywhere in the name. Otherwise the whole name, where `*` stands for any characters, dots
 * included.
 */
function matcherOf(override: Override, index: number): (moduleName: string) => boolean {
  let matcher = matchers.get(override);
  if (matcher === undefined) {
    const pattern = patternOf(override.match, index);
    matcher = (moduleName) => pattern.test(moduleName);
    matchers.set(override, matcher);
  }
  return matcher;
}

function patternOf(match: string, index: number): RegExp {
  if (!match.startsWith('re:')) {
    const parts = match.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${parts.join('.*')}$`, 's');
  }
  try {
    return new RegExp(match.slice(3), 'u');
  } catch (error) {
    throw new QuantloomError(
      'InvalidSpecification',
      `overrides.${index}.match is ${JSON.stringify(match)}: ${(error as Error).message}. ` +
        'Correct it, or use a name with * (re: is for regular expressions as in JavaScript).',
      { cause: error, details: { fields: [`overrides.${index}.match`] } },
    );
  }
}
