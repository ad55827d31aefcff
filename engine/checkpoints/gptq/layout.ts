import type { BitPlane } from '../pack-words';

/**
 * How a GPTQ checkpoint lays out its codes and zero points: the value of `checkpoint_format` in its config.
 *
 * - `gptq` (v1): a code stream without gaps; the file holds `zero - 1`.
 * - `gptq_v2`: the same stream; the file holds the zero point itself.
 * - `gptq_p`: split into bit planes, so that 5, 6 and 7 bits never straddle a word; zero points as in v2. One such linear makes
 *   the whole checkpoint planar. Read by GPTQModel only.
 */
export const GPTQ_LAYOUTS = ['gptq', 'gptq_v2', 'gptq_p'] as const;
export type GptqLayout = (typeof GPTQ_LAYOUTS)[number];

/** GPTQModel's split of the widths that do not divide 32, low plane first. */
const SPLIT_PLANES: Readonly<Record<number, readonly BitPlane[]>> = {
  3: [
    { width: 2, shift: 0 },
    { width: 1, shift: 2 },
  ],
  5: [
    { width: 4, shift: 0 },
    { width: 1, shift: 4 },
  ],
  6: [
    { width: 4, shift: 0 },
    { width: 2, shift: 4 },
  ],
  7: [
    { width: 4, shift: 0 },
    { width: 2, shift: 4 },
    { width: 1, shift: 6 },
  ],
};

/**
 * The planes of a block of 32 codes in the order of the file. Dense layouts have one plane of all bits: words filled from
 * their lowest bit up, which for 3 bits is a 96-bit little-endian stream.
 */
export function bitPlanes(bits: number, layout: GptqLayout): readonly BitPlane[] {
  const split = layout === 'gptq_p' || bits > 4 ? SPLIT_PLANES[bits] : undefined;
  return split ?? [{ width: bits, shift: 0 }];
}

/** What the file holds in place of a zero point: `zero - 1` in v1 of the format, else the zero point. */
export function storedZeroOffset(layout: GptqLayout): 0 | 1 {
  return layout === 'gptq' ? 1 : 0;
}
