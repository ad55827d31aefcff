import type { StoredRecipe } from '../linear-storage';

/** A byte for each weight: int8, or E4M3. */
export const PLAIN_LAYOUTS: readonly string[] = ['int-quantized', 'float-quantized', 'naive-quantized'];

/** Ways in which linears are stored, as a quantization_config calls them. */
export const LINEAR_LAYOUTS = [
  'pack-quantized',
  'int-quantized',
  'float-quantized',
  'naive-quantized',
  'mxfp4-pack-quantized',
  'nvfp4-pack-quantized',
] as const;
export type LinearLayout = (typeof LINEAR_LAYOUTS)[number];

/** Codes of 1 to 8 bits, packed into int32. */
export const PACK_QUANTIZED = 'pack-quantized';

/** What a checkpoint is called whose linears are stored in several ways. */
export const MIXED_PRECISION = 'mixed-precision';

/**
 * How a linear of a recipe is stored. Floats of 4 bits are packed by two. Kernels that round activations take a byte for each weight: int8, or E4M3. Without rounded activations E4M3 is
 * called `naive-quantized`, as the package does.
 */
export function linearLayout({
  floatType,
  activations,
}: Pick<StoredRecipe, 'floatType' | 'activations'>): LinearLayout {
  if (floatType === 'mxfp4' || floatType === 'nvfp4') return `${floatType}-pack-quantized`;
  if (floatType) return activations ? 'float-quantized' : 'naive-quantized';
  return activations ? 'int-quantized' : PACK_QUANTIZED;
}

/** Whether integers with one scale for all have it once. Kernels for packed codes take scales of rows and groups only. */
export function storesOneScale(layout: LinearLayout): boolean {
  return layout !== PACK_QUANTIZED;
}

/** Groups of a row: the second dimension of scales and zero points. */
export function groupsOf(columns: number, groupSize: number): number {
  return groupSize === -1 ? 1 : Math.ceil(columns / groupSize);
}

/** Words that hold so many codes: fields straddle words, and only the last word has room left. */
export function wordsOf(codes: number, bits: number): number {
  return Math.ceil((codes * bits) / 32);
}
