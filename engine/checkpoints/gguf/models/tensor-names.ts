import type { GgufArchitecture } from './gguf-architecture';

const LAYER = /(?<=\.)\d+(?=\.)/;
const SUFFIX = /\.(weight|bias)$/;

/** `model.layers.3.mlp.up_proj.weight` to `blk.3.ffn_up.weight`; null when the architecture has no such tensor. */
export function ggufTensorName(architecture: GgufArchitecture, name: string): string | null {
  return translated(name, architecture.modules);
}

/** `blk.3.ffn_up.weight` to `model.layers.3.mlp.up_proj.weight`; null when the architecture has no such tensor. */
export function sourceTensorName(architecture: GgufArchitecture, name: string): string | null {
  const modules = Object.fromEntries(Object.entries(architecture.modules).map(([source, gguf]) => [gguf, source]));
  return translated(name, modules);
}

function translated(name: string, modules: Readonly<Record<string, string>>): string | null {
  const suffix = SUFFIX.exec(name)?.[0];
  if (suffix === undefined) return null;
  const module = name.slice(0, -suffix.length);
  const layer = LAYER.exec(module)?.[0] ?? '';
  const pattern = module.replace(LAYER, '{n}');
  if (!Object.hasOwn(modules, pattern)) return null;
  return (modules[pattern] as string).replace('{n}', layer) + suffix;
}
