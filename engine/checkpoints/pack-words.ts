import { nativeKernelsFor } from '../kernels';

/** Codes that are packed together: the smallest run that fills whole words at every width. */
export const CODES_PER_BLOCK = 32;

/** A run of adjacent bits of every code of a block: `width` bits, of which the lowest is bit `shift` of the code. */
export interface BitPlane {
  readonly width: number;
  readonly shift: number;
}

/**
 * How lanes of codes map to lanes of words. Lane `l` has code `i` at `codes[l * codes.lane + i * codes.item]` and word `w` at
 * `words[l * words.lane + w * words.item]`.
 */
export interface LaneGeometry {
  readonly lanes: number;
  /** Codes per lane, a multiple of 32. */
  readonly length: number;
  readonly codes: { readonly lane: number; readonly item: number };
  readonly words: { readonly lane: number; readonly item: number };
}

/** Lanes that are worked on together, so that both the codes and the words of a tile stay in the cache. */
const TILE_LANES = 64;

/**
 * Packs codes into 32-bit words: per 32 codes the planes one after the other, each plane filled from the lowest bit up.
 *
 * @param codes values below 2^bits, in the geometry's order
 * @returns words, `lanes * length * bits / 32` of them
 */
export function packWords(codes: Uint8Array, planes: readonly BitPlane[], geometry: LaneGeometry): Int32Array {
  const bits = totalWidth(planes);
  const { lanes, length } = geometry;
  const words = new Int32Array((lanes * length * bits) / 32);
  const native = nativeKernelsFor(codes.length);
  if (native) {
    native.packWords(codes, planes, geometry, words);
    return words;
  }
  const { lane: codeLane, item: codeItem } = geometry.codes;
  const { lane: wordLane, item: wordItem } = geometry.words;

  for (let firstLane = 0; firstLane < lanes; firstLane += TILE_LANES) {
    const endLane = Math.min(lanes, firstLane + TILE_LANES);
    for (let block = 0; block * CODES_PER_BLOCK < length; block++) {
      for (let lane = firstLane; lane < endLane; lane++) {
        const firstCode = lane * codeLane + block * CODES_PER_BLOCK * codeItem;
        let word = lane * wordLane + block * bits * wordItem;
        for (const { width, shift } of planes) {
          const mask = (1 << width) - 1;
          let filled = 0;
          let value = 0;
          for (let i = 0; i < CODES_PER_BLOCK; i++) {
            const code = ((codes[firstCode + i * codeItem] as number) >>> shift) & mask;
            value |= code << filled;
            filled += width;
            if (filled >= 32) {
              words[word] = value;
              word += wordItem;
              filled -= 32;
              // The upper bits of a code that straddles two words.
              value = filled === 0 ? 0 : code >>> (width - filled);
            }
          }
        }
      }
    }
  }
  return words;
}

/** The inverse of `packWords`. @returns codes in the geometry's order, `lanes * length` of them. */
export function unpackWords(words: Int32Array, planes: readonly BitPlane[], geometry: LaneGeometry): Uint8Array {
  const bits = totalWidth(planes);
  const { lanes, length } = geometry;
  const codes = new Uint8Array(lanes * length);
  const native = nativeKernelsFor(codes.length);
  if (native) {
    native.unpackWords(words, planes, geometry, codes);
    return codes;
  }
  const { lane: codeLane, item: codeItem } = geometry.codes;
  const { lane: wordLane, item: wordItem } = geometry.words;

  for (let firstLane = 0; firstLane < lanes; firstLane += TILE_LANES) {
    const endLane = Math.min(lanes, firstLane + TILE_LANES);
    for (let block = 0; block * CODES_PER_BLOCK < length; block++) {
      for (let lane = firstLane; lane < endLane; lane++) {
        const firstCode = lane * codeLane + block * CODES_PER_BLOCK * codeItem;
        let word = lane * wordLane + block * bits * wordItem;
        for (const { width, shift } of planes) {
          const mask = (1 << width) - 1;
          let offset = 0;
          let value = words[word] as number;
          for (let i = 0; i < CODES_PER_BLOCK; i++) {
            let code = value >>> offset;
            offset += width;
            if (offset >= 32) {
              word += wordItem;
              offset -= 32;
              if (offset > 0 || i + 1 < CODES_PER_BLOCK) value = words[word] as number;
              if (offset > 0) code |= value << (width - offset);
            }
            const at = firstCode + i * codeItem;
            codes[at] = (codes[at] as number) | ((code & mask) << shift);
          }
        }
      }
    }
  }
  return codes;
}

function totalWidth(planes: readonly BitPlane[]): number {
  return planes.reduce((sum, plane) => sum + plane.width, 0);
}
