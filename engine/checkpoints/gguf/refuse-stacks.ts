import type { LinearPlan } from '../../spec';
import { gridBlockType } from './linear-blocks';

/** Why experts of a layer cannot be one tensor, which has one type, and what to do; null: they can. */
export function refuseStacks(linears: readonly LinearPlan[]): string | null {
  const firsts = new Map<string, LinearPlan>();
  for (const linear of linears) {
    if (linear.expert === undefined) continue;
    const stack = stackName(linear);
    const first = firsts.get(stack) ?? linear;
    firsts.set(stack, first);
    const [type, other] = [storedAs(first), storedAs(linear)];
    if (type === other) continue;
    return (
      `the experts of a layer are one tensor of one type in GGUF, and ${first.name} would be ${type}, ${linear.name} ${other}. ` +
      `Let overrides match all experts of a layer: ${JSON.stringify(stack)}.`
    );
  }
  return null;
}

/** `model.layers.3.mlp.experts.*.up_proj`. */
function stackName({ name, expert }: LinearPlan): string {
  const number = `.${expert}.`;
  const at = name.lastIndexOf(number);
  return `${name.slice(0, at)}.*.${name.slice(at + number.length)}`;
}

function storedAs({ recipe, columns }: LinearPlan): string {
  if (recipe === null) return 'kept in 16 bit';
  if (recipe.blockType) return recipe.blockType;
  if (!Number.isInteger(recipe.bits)) return 'of a width that is still to be chosen';
  const found = gridBlockType(recipe, columns);
  return 'type' in found ? found.type : 'of no type';
}
