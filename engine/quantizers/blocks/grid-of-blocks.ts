import type { BlockCodes, BlockType } from '../../checkpoints/gguf/blocks/block-type';
import { decodeBlocks } from '../../checkpoints/gguf/blocks/encode-blocks';

/** What codes stand for, group after group: `scale · levels[code] + offset`. */
export interface GroupGrids {
  /** `[groups]`, of either sign; 0 where the group is the same number throughout. */
  readonly scales: Float64Array;
  readonly offsets: Float64Array;
}

/**
 * The grids of blocks, whatever codes are in them: read off what the lowest and the highest code are decoded to, to the rounding of float32.
 */
export function gridOfBlocks(type: BlockType, codes: BlockCodes, blocks: Uint8Array): GroupGrids {
  const { levels, groupSize } = codes;
  const last = levels.length - 1;
  const [lowest, highest] = [levels[0] as number, levels[last] as number];
  const atLowest = decodedWith(type, codes, blocks, 0);
  const atHighest = decodedWith(type, codes, blocks, last);
  const groups = atLowest.length / groupSize;
  const scales = new Float64Array(groups);
  const offsets = new Float64Array(groups);
  for (let group = 0; group < groups; group++) {
    const low = atLowest[group * groupSize] as number;
    const scale = ((atHighest[group * groupSize] as number) - low) / (highest - lowest);
    scales[group] = scale;
    offsets[group] = low - scale * lowest;
  }
  return { scales, offsets };
}

/** Replaces all codes of some blocks. @param codes as many as the blocks hold weights. */
export function packCodes(
  { blockSize, blockBytes }: BlockType,
  { pack }: BlockCodes,
  codes: Uint8Array,
  blocks: Uint8Array,
): void {
  for (let first = 0, at = 0; first < codes.length; first += blockSize, at += blockBytes) {
    pack(codes.subarray(first, first + blockSize), blocks, at);
  }
}

function decodedWith(type: BlockType, codes: BlockCodes, blocks: Uint8Array, code: number): Float32Array {
  const copy = blocks.slice();
  const all = new Uint8Array(type.blockSize).fill(code);
  for (let at = 0; at < copy.length; at += type.blockBytes) codes.pack(all, copy, at);
  return decodeBlocks(type, copy);
}
