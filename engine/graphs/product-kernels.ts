import { isCpu } from '../devices/device';
import { type KernelChoice, type NativeAddon, selectProductKernels } from '../kernels';
import type { SessionOptions } from './session-pool';

/** The native kernels for products of a stage; null: graphs compute them. On a device other than the CPU graphs do. */
export function productKernels({
  kernels,
  executionProviders,
}: Pick<SessionOptions, 'executionProviders'> & { readonly kernels?: KernelChoice | undefined }): NativeAddon | null {
  return isCpu(executionProviders) ? selectProductKernels(kernels) : null;
}
