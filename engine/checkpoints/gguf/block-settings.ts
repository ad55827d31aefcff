import type { LinearSettings } from '../linear-storage';
import type { BlockType } from './blocks/block-type';
import { gridBlockType } from './linear-blocks';

/** Types that hold a minimum beside the scale. */
const WITH_MINIMUM = /_1$|^Q[245]_K$/;

/** A block type in what formats have in common; bits are those of a weight without its share of scales, rounded. */
export function blockSettings({ name, blockSize, blockBytes }: BlockType): LinearSettings {
  return {
    bits: Math.floor((blockBytes * 8) / blockSize),
    groupSize: blockSize,
    symmetric: !WITH_MINIMUM.test(name),
    layout: name,
  };
}

/** The block type that linears of this recipe are stored as, whatever their columns. @throws Error where there is none. */
export function blockTypeFor(recipe: Omit<LinearSettings, 'layout'>) {
  const found = gridBlockType({ ...recipe, bits: recipe.bits as 4, groupSize: 32 }, 32);
  if ('type' in found) return found.type;
  throw new Error(found.refusal);
}
