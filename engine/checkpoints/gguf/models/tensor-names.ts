import type { GgufArchitecture } from './gguf-architecture';

const NUMBER = /(?<=\.)\d+(?=\.)/g;
/** In a name: the layer, and behind it the expert. */
const PLACES = ['{n}', '{e}'] as const;
const SUFFIX = /\.(weight|bias)$/;

/**
 * `model.layers.3.mlp.up_proj.weight` to `blk.3.ffn_up.weight`; the tensors of all experts of a layer have the name of their stack. null when the
 * architecture has no such tensor.
 */
export function ggufTensorName(architecture: GgufArchitecture, name: string): string | null {
  return translated(name, architecture.modules) ?? translated(architecture.prefix + name, architecture.modules);
}

/**
 * `blk.3.ffn_up.weight` to `model.layers.3.mlp.up_proj.weight`; null when the architecture has no such tensor.
 *
 * @param expert of a stack: whose tensor is meant.
 */
export function sourceTensorName(architecture: GgufArchitecture, name: string, expert = 0): string | null {
  const modules = Object.fromEntries(Object.entries(architecture.modules).map(([source, gguf]) => [gguf, source]));
  return translated(name, modules)?.replace('{e}', String(expert)) ?? null;
}

/** Whose tensor it is, by its name in the source; null: no expert's. */
export function expertOf(name: string): number | null {
  const [, expert] = name.match(NUMBER) ?? [];
  return expert === undefined ? null : Number(expert);
}

/** By its name in GGUF: the tensor chooses experts, or weighs the shared one. llama.cpp's converter has it in float32. */
export function isRouter(name: string): boolean {
  return /\.ffn_gate_inp(_shexp)?\.weight$/.test(name);
}

/** By its name in the source: files hold the transpose of this weight, `[columns, rows]`. */
export function isTransposed({ transposed }: GgufArchitecture, name: string): boolean {
  return name.endsWith('.weight') && transposed?.test(name.slice(0, -'.weight'.length)) === true;
}

/** By its name in GGUF: what llama.cpp's converter always has in float32. */
export function isAlwaysFloat32(name: string): boolean {
  return isRouter(name) || name === 'position_embd.weight';
}

/** By its name in GGUF: the gain of a norm, which llama.cpp multiplies with as it is. */
export function isGain(name: string): boolean {
  return /norm\.weight$/.test(name);
}

function translated(name: string, modules: Readonly<Record<string, string>>): string | null {
  const suffix = SUFFIX.exec(name)?.[0];
  if (suffix === undefined) return null;
  const numbers: string[] = [];
  const pattern = name.slice(0, -suffix.length).replace(NUMBER, (number) => PLACES[numbers.push(number) - 1] ?? number);
  if (!Object.hasOwn(modules, pattern)) return null;
  return (modules[pattern] as string).replace('{n}', numbers[0] ?? '') + suffix;
}
