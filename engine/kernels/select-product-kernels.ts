import { enableAmx } from './enable-amx';
import type { NativeAddon } from './native-addon';
import { type KernelChoice, selectKernels } from './select-kernels';

let triedAmx = false;

/** The native kernels for matrix products, on AMX where that works (tried once in a process, by another one); null: none. */
export function selectProductKernels(choice?: KernelChoice): NativeAddon | null {
  const { native } = selectKernels(choice);
  if (native && !triedAmx) {
    triedAmx = true;
    enableAmx();
  }
  return native;
}
