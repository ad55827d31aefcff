import type { Recipe } from '../../spec';
import type { LinearSettings, StoredRecipe } from '../linear-storage';
import type { BlockType, BlockTypeName } from './blocks/block-type';
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

/** The fields of a recipe that follow from a block type: bits of a code, not those of the block's scales. */
export function recipeOfBlocks({
  blockSize,
  name,
  codes,
}: BlockType): Pick<Recipe, 'bits' | 'groupSize' | 'symmetric'> {
  const bits = Math.ceil(Math.log2(codes?.levels.length ?? 1)) as Recipe['bits'];
  return { bits, groupSize: blockSize as Recipe['groupSize'], symmetric: !WITH_MINIMUM.test(name) };
}

/** The block type that linears of this recipe are stored as, whatever their columns. @throws Error where there is none. */
export function blockTypeFor(recipe: StoredRecipe): BlockTypeName {
  if (recipe.blockType) return recipe.blockType;
  const found = gridBlockType({ ...recipe, bits: recipe.bits as 4, groupSize: 32 }, 32);
  if ('type' in found) return found.type;
  throw new Error(found.refusal);
}
