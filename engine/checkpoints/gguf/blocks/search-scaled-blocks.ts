import { assignLevels, fitScale, type Stretch } from './fit-scale';
import { writeHalf } from './half-bytes';
import type { Levels } from './levels';
import { fillWeighting } from './weighting';

const SIZE = 32;
const stretch: Stretch = {
  x: new Float64Array(SIZE),
  weighting: new Float64Array(SIZE),
  start: 0,
  count: SIZE,
};
const assigned = new Int8Array(SIZE);
const codes = new Uint8Array(SIZE);

export interface ScaledBlocksSearch {
  readonly values: Float32Array;
  readonly blocks: Uint8Array;
  readonly importance: Float32Array | undefined;
  readonly levels: Levels;
  readonly blockBytes: number;
  /** Stores 32 codes in the block at `at`, behind its scale. */
  pack(codes: Uint8Array, blocks: Uint8Array, at: number): void;
}

/** Encodes blocks of 32 that are `x = d level(q)` with a leading float16 d (Q4_0, Q5_0, IQ4_NL) with the least weighted error found. */
export function searchScaledBlocks(search: ScaledBlocksSearch): void {
  const { values, blocks, importance, levels, blockBytes, pack } = search;
  for (let at = 0, first = 0; first < values.length; at += blockBytes, first += SIZE) {
    for (let i = 0; i < SIZE; i++) stretch.x[i] = values[first + i] as number;
    fillWeighting(stretch.weighting, importance, first, SIZE);
    const scale = writeHalf(blocks, at, fitScale(stretch, levels));
    assignLevels(stretch, scale, levels, assigned);
    for (let i = 0; i < SIZE; i++) codes[i] = levels.codes[(assigned[i] as number) + 128] as number;
    pack(codes, blocks, at);
  }
}
