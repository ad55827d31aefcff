import type { LinearPlan } from '../../spec';

/** What of a module's settings differs from the base config; `false`: the module is not quantized. */
export type ModuleOverride = Readonly<Record<string, number | boolean>> | false;

/** `dynamic` of a quantization_config: `+:regex` with overriding fields, `-:regex` for modules that are not quantized. */
export type DynamicOverrides = Record<string, Record<string, number | boolean>>;

/** Linears that vLLM and SGLang fuse into one, and match under the fused name. */
const FUSED = [
  { fused: 'qkv_proj', parts: ['q_proj', 'k_proj', 'v_proj'] },
  { fused: 'gate_up_proj', parts: ['gate_proj', 'up_proj'] },
];

/**
 * Writes overrides as anchored regular expressions, one per set of modules that differ in their layer's number only.
 *
 * Readers match from the start of the name (Python's re.match) and take the first hit, skips first; the expressions are
 * disjoint and end in `$`, so order does not matter. Where all parts of a fused linear agree, the fused name matches too.
 */
export function writeDynamicOverrides(
  linears: readonly LinearPlan[],
  overrideOf: (linear: LinearPlan) => ModuleOverride | null,
): DynamicOverrides {
  const layersOf = new Map<string, Set<string>>();
  const groups = new Map<string, { override: ModuleOverride; layers: Map<string, Set<string>> }>();
  for (const linear of linears) {
    const { template, layer } = splitName(linear.name);
    addTo(layersOf, template, layer);
    const override = overrideOf(linear);
    if (override === null) continue;
    const key = JSON.stringify(override);
    const group = groups.get(key) ?? { override, layers: new Map() };
    groups.set(key, group);
    addTo(group.layers, template, layer);
  }

  const skips: DynamicOverrides = {};
  const others: DynamicOverrides = {};
  for (const { override, layers } of groups.values()) {
    for (const [parent, variants] of byParentAndLayers(layers, layersOf)) {
      for (const { pattern, leaves } of variants) {
        const names = withFusedNames(leaves);
        const leaf = names.length === 1 ? names[0] : `(?:${names.join('|')})`;
        const regex = `^${parent.replaceAll('.', '\\.').replace('*', pattern)}${parent === '' ? '' : '\\.'}${leaf}$`;
        if (override === false) skips[`-:${regex}`] = {};
        else others[`+:${regex}`] = override;
      }
    }
  }
  return { ...skips, ...others };
}

/**
 * What `dynamic` says of a module: the fields of the first `+:` (or bare) expression that matches, false for a skip, null for none.
 *
 * @throws SyntaxError when an expression is none that JavaScript understands.
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
    if (new RegExp(`^(?:${regex})`).test(module)) return key.startsWith('-:') ? false : fields;
  }
  return null;
}

/** `model.layers.3.mlp.up_proj` is layer 3 of `model.layers.*.mlp.up_proj`. */
function splitName(name: string): { template: string; layer: string } {
  const layer = /\.(\d+)\./.exec(name)?.[1] ?? '';
  return { template: layer === '' ? name : name.replace(`.${layer}.`, '.*.'), layer };
}

function addTo(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key);
  if (set) set.add(value);
  else map.set(key, new Set([value]));
}

/** Groups `parent.leaf` templates by parent and by the same layers, and writes those as an expression. */
function byParentAndLayers(
  layers: ReadonlyMap<string, ReadonlySet<string>>,
  all: ReadonlyMap<string, ReadonlySet<string>>,
): Map<string, { pattern: string; leaves: string[] }[]> {
  const parents = new Map<string, { pattern: string; leaves: string[] }[]>();
  for (const [template, numbers] of layers) {
    const dot = template.lastIndexOf('.');
    const parent = template.slice(0, Math.max(dot, 0));
    const everywhere = numbers.size > 1 && numbers.size === all.get(template)?.size;
    const list = [...numbers].join('|');
    const pattern = everywhere ? '\\d+' : numbers.size === 1 ? list : `(?:${list})`;
    const variants = parents.get(parent) ?? [];
    parents.set(parent, variants);
    const variant = variants.find((candidate) => candidate.pattern === pattern);
    if (variant) variant.leaves.push(template.slice(dot + 1));
    else variants.push({ pattern, leaves: [template.slice(dot + 1)] });
  }
  return parents;
}

function withFusedNames(leaves: readonly string[]): string[] {
  const fused = FUSED.filter(({ parts }) => parts.every((part) => leaves.includes(part)));
  return [...leaves, ...fused.map((entry) => entry.fused)];
}
