import { z } from 'zod';
import { type LinearPlan, QuantloomError } from '../spec';
import { modulePatterns } from './module-patterns';

type Linear = Pick<LinearPlan, 'name' | 'recipe'>;

/** What of a module's settings differs from the base config; `false`: the module is not quantized. */
export type ModuleOverride = Readonly<Record<string, number | boolean>> | false;

/** `dynamic` of a quantization_config, as GPTQModel has it: `+:regex` with overriding fields, `-:regex` for modules that are not quantized. */
export type DynamicOverrides = Record<string, Record<string, number | boolean>>;

/** The same in a file of whatever producer. */
export const DynamicOverridesSchema = z.record(z.string(), z.record(z.string(), z.any())).nullish();

/**
 * Writes overrides as anchored regular expressions, one per set of modules that differ in their layer's number only.
 *
 * Readers match from the start of the name (Python's re.match) and take the first hit, skips first; the expressions are
 * disjoint and end in `$`, so order does not matter. Where all parts of a fused linear agree, the fused name matches too.
 */
export function writeDynamicOverrides(
  linears: readonly Linear[],
  overrideOf: (linear: Linear) => ModuleOverride | null,
): DynamicOverrides {
  const all = linears.map(({ name }) => name);
  const groups = new Map<string, { override: ModuleOverride; modules: string[] }>();
  for (const linear of linears) {
    const override = overrideOf(linear);
    if (override === null) continue;
    const key = JSON.stringify(override);
    const group = groups.get(key) ?? { override, modules: [] };
    groups.set(key, group);
    group.modules.push(linear.name);
  }

  const skips: DynamicOverrides = {};
  const others: DynamicOverrides = {};
  for (const { override, modules } of groups.values()) {
    for (const regex of modulePatterns(modules, all)) {
      if (override === false) skips[`-:${regex}`] = {};
      else others[`+:${regex}`] = override;
    }
  }
  return { ...skips, ...others };
}

/**
 * What `dynamic` says of a module: the fields of the first `+:` (or bare) expression that matches, false for a skip, null for none.
 *
 * @throws QuantloomError InvalidCheckpoint for an expression that is none in JavaScript.
 */
export function readDynamicOverride(
  dynamic: DynamicOverrides | null | undefined,
  module: string,
): ModuleOverride | null {
  const entries = Object.entries(dynamic ?? {});
  // GPTQModel moves skips to the front when it reads a config.
  const ordered = [
    ...entries.filter(([key]) => key.startsWith('-:')),
    ...entries.filter(([key]) => !key.startsWith('-:')),
  ];
  for (const [key, fields] of ordered) {
    const regex = key.replace(/^[+-]:/, '');
    if (expressionOf(regex).test(module)) return key.startsWith('-:') ? false : fields;
  }
  return null;
}

function expressionOf(regex: string): RegExp {
  try {
    return new RegExp(`^(?:${regex})`);
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `quantization_config.dynamic: ${(cause as Error).message}`, {
      cause,
    });
  }
}
