import type { Architecture } from './architecture';

/** The tensor that holds a linear's weight: `<module>.weight`, or the embedding for a head that is tied to it. */
export function weightTensor(architecture: Architecture, module: string, has: (tensor: string) => boolean): string {
  const name = `${module}.weight`;
  return name === architecture.head && !has(name) ? architecture.embedding : name;
}
