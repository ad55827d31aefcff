import type { FloatType } from './float-types';

/** What runtimes round the inputs of linears to. */
export const ACTIVATION_TYPES = ['int8', 'fp8', 'fp8-static', 'mxfp4', 'nvfp4'] as const;
export type ActivationType = (typeof ACTIVATION_TYPES)[number];

/** Those with a number for all tokens, which is found while calibrating: from the largest magnitude of the input. */
const STATIC: readonly ActivationType[] = ['fp8-static', 'nvfp4'];

/** The floats that weights have which kernels multiply such inputs with; none: integers. */
const WEIGHTS: Readonly<Record<ActivationType, readonly FloatType[]>> = {
  int8: [],
  fp8: ['fp8', 'fp8-tensor', 'fp8-block'],
  'fp8-static': ['fp8', 'fp8-tensor'],
  mxfp4: ['mxfp4'],
  nvfp4: ['nvfp4'],
};

/** Whether the scales of inputs need their largest magnitude on the calibration set. */
export function isStatic(activations: ActivationType | 'none' | undefined): boolean {
  return STATIC.some((type) => type === activations);
}

/** The types of float that weights of such inputs have; none: integers. */
export function floatTypesOf(activations: ActivationType): readonly FloatType[] {
  return WEIGHTS[activations];
}
