import { loadNativeAddon, type NativeAddon } from './native-addon';

/** Which kernels to run: `native` where they can be loaded, or always the reference. */
export type KernelChoice = 'native' | 'typescript';

export interface SelectedKernels {
  /** For reports: `native avx512`, `native avx2`, `native neon` or `typescript`. */
  readonly name: string;
  /** null: the TypeScript kernels. */
  readonly native: NativeAddon | null;
  /** Why they are the TypeScript ones; null when native ones run. */
  readonly why: string | null;
}

let preferred: KernelChoice = 'native';
let loaded: ReturnType<typeof loadNativeAddon> | null = null;

/** What this process runs from now on where nothing else is asked for. */
export function preferKernels(choice: KernelChoice): void {
  preferred = choice;
}

/** What was asked for; the process may not have it. For threads, which have modules of their own. */
export function preferredKernels(): KernelChoice {
  return preferred;
}

/** The one place that chooses an implementation. */
export function selectKernels(choice: KernelChoice = preferred): SelectedKernels {
  if (choice === 'typescript') return { name: 'typescript', native: null, why: 'they were asked for' };
  loaded ??= loadNativeAddon();
  if (!loaded.addon) return { name: 'typescript', native: null, why: loaded.why };
  return { name: `native ${loaded.addon.instructionSet()}`, native: loaded.addon, why: null };
}

/** Where a call costs more than its work. */
const FEWEST_ELEMENTS = 4096;

/** The native kernels for work on so many elements that TypeScript does in the same way, to the last bit; null: let it. */
export function nativeKernelsFor(elements: number): NativeAddon | null {
  return elements < FEWEST_ELEMENTS ? null : selectKernels().native;
}
