import type { Recipe } from '../../spec';

/** What all quantized linears of a checkpoint are: the value of `bnb_4bit_quant_type`, or `int8`. */
export const BITSANDBYTES_LAYOUTS = ['nf4', 'fp4', 'int8'] as const;
export type BitsandbytesLayout = (typeof BITSANDBYTES_LAYOUTS)[number];

const LAYOUT_OF: Partial<Record<Recipe['method'], BitsandbytesLayout>> = { nf4: 'nf4', fp4: 'fp4', 'llm-int8': 'int8' };

/** The layout that a method leads to; null: bitsandbytes has none. */
export function layoutOf({ method }: Pick<Recipe, 'method'>): BitsandbytesLayout | null {
  return LAYOUT_OF[method] ?? null;
}

/** Beside `weight`: the last parts of the names of tensors. */
export const FOUR_BIT_PARTS = {
  absmax: 'weight.absmax',
  quantMap: 'weight.quant_map',
  nestedAbsmax: 'weight.nested_absmax',
  nestedQuantMap: 'weight.nested_quant_map',
  state: { nf4: 'weight.quant_state.bitsandbytes__nf4', fp4: 'weight.quant_state.bitsandbytes__fp4' },
} as const;

export const INT8_PARTS = { scale: 'SCB', format: 'weight_format' } as const;
