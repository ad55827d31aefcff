import type { Recipe } from '../spec';

/** What the quantizer recorded of a linear that is stored quantized. */
export interface RecordedLinear {
  readonly bits: number;
  /** Columns per group; -1: one group. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly blockType?: Recipe['blockType'];
  readonly floatType?: Recipe['floatType'];
  readonly perTensor?: Recipe['perTensor'];
  readonly activations?: Recipe['activations'];
  /** The number that runtimes quantize all inputs with. */
  readonly inputScale?: number;
  /** null: not recorded. */
  readonly weightSha256: string | null;
}

/** What verification needs of reports, or of a manifest's linears, by module. Those that are kept in 16 bit are left out. */
export function recordedLinears(
  linears: Iterable<{
    readonly name: string;
    readonly recipe: Recipe | null;
    readonly inputScale?: number;
    readonly weightSha256: string | null;
  }>,
): Record<string, RecordedLinear> {
  const recorded: Record<string, RecordedLinear> = {};
  for (const { name, recipe, inputScale, weightSha256 } of linears) {
    if (recipe === null) continue;
    const { bits, groupSize, symmetric, blockType, floatType, perTensor, activations } = recipe;
    const others = {
      ...(blockType && { blockType }),
      ...(floatType && { floatType }),
      ...(perTensor && { perTensor }),
      ...(activations && { activations }),
      ...(inputScale !== undefined && { inputScale }),
    };
    recorded[name] = { bits, groupSize, symmetric, ...others, weightSha256 };
  }
  return recorded;
}
