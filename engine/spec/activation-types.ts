/** What runtimes round the inputs of linears to. */
export const ACTIVATION_TYPES = ['int8', 'fp8', 'fp8-static'] as const;
export type ActivationType = (typeof ACTIVATION_TYPES)[number];

/** Those with a number for all tokens, which is found while calibrating: from the largest magnitude of the input. */
const STATIC: readonly ActivationType[] = ['fp8-static'];

/** Whether the scales of inputs need their largest magnitude on the calibration set. */
export function isStatic(activations: ActivationType | 'none' | undefined): boolean {
  return STATIC.some((type) => type === activations);
}
