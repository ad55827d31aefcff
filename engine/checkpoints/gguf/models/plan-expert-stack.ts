import type { ModelShape } from '../../../models';
import { QuantloomError } from '../../../spec';
import type { GgufTensorPlan, PlanGgufTensorsOptions } from './plan-gguf-tensors';
import { expertOf } from './tensor-names';

type Part = PlanGgufTensorsOptions['tensors'][number];

/** The tensors of experts, by the name of their stack. */
export function stacksOf<T extends { readonly name: string }>(
  tensors: readonly T[],
  stackOf: (tensor: T) => string | null,
): ReadonlyMap<string | null, readonly T[]> {
  const stacks = new Map<string | null, T[]>();
  for (const tensor of tensors) {
    if (expertOf(tensor.name) === null) continue;
    const stack = stackOf(tensor);
    stacks.set(stack, [...(stacks.get(stack) ?? []), tensor]);
  }
  return stacks;
}

/**
 * The one tensor `[experts, rows, columns]` that a projection of all experts of a layer is in GGUF. It has one type.
 *
 * @param parts of the experts, in any order.
 * @throws QuantloomError UnsupportedInput naming an expert that is missing, or is of another shape or type than the first.
 */
export function planExpertStack(
  name: string,
  parts: readonly Part[],
  { experts }: Pick<ModelShape, 'experts'>,
  typeOf: PlanGgufTensorsOptions['typeOf'],
): GgufTensorPlan {
  const count = experts?.count ?? 0;
  const byExpert = new Map(parts.map((part) => [expertOf(part.name), part]));
  const stack = Array.from({ length: count }, (_, expert) => {
    const part = byExpert.get(expert);
    if (part) return part;
    throw refused(name, `expert ${expert} of ${count} is missing`);
  });
  const [first] = stack;
  if (!first || parts.length !== count) throw refused(name, `there are ${parts.length} experts, not ${count}`);
  const type = typeOf(first.name);
  for (const part of stack) {
    const own = typeOf(part.name);
    if (own !== type) throw refused(name, `${first.name} is ${type} and ${part.name} ${own}; they need one type`);
    if (part.shape.join() === first.shape.join()) continue;
    throw refused(name, `${part.name} has the shape [${part.shape.join(', ')}], others [${first.shape.join(', ')}]`);
  }
  return {
    name,
    shape: [count, ...first.shape],
    type,
    source: first.name,
    experts: stack.map((part) => part.name),
    rowOrder: null,
    transposed: false,
    added: 0,
  };
}

function refused(name: string, what: string): QuantloomError {
  return new QuantloomError('UnsupportedInput', `The experts of ${name} are one tensor in GGUF: ${what}.`, {
    details: { tensor: name },
  });
}
