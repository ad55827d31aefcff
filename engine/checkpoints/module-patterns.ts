/** Linears that vLLM and SGLang fuse into one, and match under the fused name. */
const FUSED = [
  { fused: 'qkv_proj', parts: ['q_proj', 'k_proj', 'v_proj'] },
  { fused: 'gate_up_proj', parts: ['gate_proj', 'up_proj'] },
];

/**
 * Names of modules as anchored regular expressions, one per set that differs in the number of the layer only.
 *
 * They match these modules and no other of `all`. Where all parts of a fused linear are among them, the fused name matches too.
 */
export function modulePatterns(modules: readonly string[], all: readonly string[]): string[] {
  const layersOf = layersByTemplate(all);
  const patterns: string[] = [];
  for (const [parent, variants] of byParentAndLayers(layersByTemplate(modules), layersOf)) {
    for (const { pattern, leaves } of variants) {
      const names = withFusedNames(leaves);
      const leaf = names.length === 1 ? names[0] : `(?:${names.join('|')})`;
      patterns.push(`^${parent.replaceAll('.', '\\.').replace('*', pattern)}${parent === '' ? '' : '\\.'}${leaf}$`);
    }
  }
  return patterns;
}

/** By template (a name with `*` for the number of its layer): the layers that have it. */
function layersByTemplate(modules: readonly string[]): Map<string, Set<string>> {
  const layersOf = new Map<string, Set<string>>();
  for (const module of modules) {
    const { template, layer } = splitName(module);
    const layers = layersOf.get(template);
    if (layers) layers.add(layer);
    else layersOf.set(template, new Set([layer]));
  }
  return layersOf;
}

/** `model.layers.3.mlp.up_proj` is layer 3 of `model.layers.*.mlp.up_proj`. */
function splitName(name: string): { template: string; layer: string } {
  const layer = /\.(\d+)\./.exec(name)?.[1] ?? '';
  return { template: layer === '' ? name : name.replace(`.${layer}.`, '.*.'), layer };
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
