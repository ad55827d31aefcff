import type { Kernels } from './kernels';
import { referenceKernels } from './reference-kernels';

/** The one place that chooses an implementation. Called once in each thread that solves. */
export function selectKernels(): Kernels {
  return referenceKernels;
}
