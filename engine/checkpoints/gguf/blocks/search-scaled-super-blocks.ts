import { roundToFloat16 } from '../../../numbers';
import { assignLevels, fitScale, type Stretch } from './fit-scale';
import type { Levels } from './levels';
import { fillWeighting } from './weighting';

const SIZE = 256;
const MOST_ROUNDS = 3;

/** A super-block of 256: `x = d · scales[sub-block] · level`. */
export interface ScaledSuperBlock {
  /** A float16. */
  d: number;
  readonly scales: Int8Array;
  readonly assigned: Int8Array;
}

export interface ScaledSuperBlocksSearch {
  readonly values: Float32Array;
  readonly blocks: Uint8Array;
  readonly importance: Float32Array | undefined;
  readonly levels: Levels;
  readonly subBlockSize: number;
  /** Scales of sub-blocks go from `-scaleLimit` to `scaleLimit - 1`. */
  readonly scaleLimit: number;
  readonly blockBytes: number;
  pack(block: ScaledSuperBlock, blocks: Uint8Array, at: number): void;
}

const x = new Float64Array(SIZE);
const weighting = new Float64Array(SIZE);
const trial = new Int8Array(SIZE);
const wanted = new Float64Array(16);
const kept: ScaledSuperBlock = { d: 0, scales: new Int8Array(16), assigned: new Int8Array(SIZE) };
const tried: ScaledSuperBlock = { d: 0, scales: new Int8Array(16), assigned: new Int8Array(SIZE) };
const stretches = new Map([16, 32].map((count) => [count, stretchesOf(count)]));

/**
 * Encodes super-blocks with one float16 and an integer scale per sub-block (Q3_K, Q6_K, IQ4_XS) with the least weighted error
 * found: a scale per sub-block by itself; d from the largest of them; then, as long as it helps, integer scales and codes around
 * what d makes of them, and the least-squares d for these.
 */
export function searchScaledSuperBlocks(search: ScaledSuperBlocksSearch): void {
  const { values, blocks, importance, levels, subBlockSize, scaleLimit, blockBytes, pack } = search;
  const parts = stretches.get(subBlockSize) as readonly Stretch[];
  for (let at = 0, first = 0; first < values.length; at += blockBytes, first += SIZE) {
    for (let i = 0; i < SIZE; i++) x[i] = values[first + i] as number;
    fillWeighting(weighting, importance, first, SIZE);
    let extreme = 0;
    for (let part = 0; part < parts.length; part++) {
      const scale = fitScale(parts[part] as Stretch, levels);
      wanted[part] = scale;
      if (Math.abs(scale) > Math.abs(extreme)) extreme = scale;
    }
    improve(parts, levels, scaleLimit, roundToFloat16(extreme / -scaleLimit));
    pack(kept, blocks, at);
  }
}

/** Leaves the best super-block in `kept`, starting from `d`. */
function improve(parts: readonly Stretch[], levels: Levels, scaleLimit: number, start: number): void {
  let d = start;
  let least = Infinity;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    tried.d = d;
    const error = chooseScales(parts, levels, scaleLimit, d);
    if (!(error < least)) return;
    least = error;
    kept.d = d;
    kept.scales.set(tried.scales);
    kept.assigned.set(tried.assigned);
    const better = roundToFloat16(leastSquares(parts));
    if (better === d || d === 0) return;
    d = better;
  }
}

/** Integer scales and levels for a given d, in `tried`; returns the error. */
function chooseScales(parts: readonly Stretch[], levels: Levels, scaleLimit: number, d: number): number {
  let error = 0;
  for (let part = 0; part < parts.length; part++) {
    const stretch = parts[part] as Stretch;
    const { start, count } = stretch;
    const middle = d === 0 ? 0 : Math.round((wanted[part] as number) / d);
    let least = Infinity;
    for (let scale = middle - 1; scale <= middle + 1; scale++) {
      if (scale < -scaleLimit || scale >= scaleLimit) continue;
      const now = assignLevels(stretch, d * scale, levels, trial);
      if (now >= least) continue;
      least = now;
      tried.scales[part] = scale;
      for (let i = start; i < start + count; i++) tried.assigned[i] = trial[i] as number;
    }
    error += least;
  }
  return error;
}

/** The d of least error for the scales and levels in `kept`. */
function leastSquares(parts: readonly Stretch[]): number {
  let product = 0;
  let square = 0;
  for (let part = 0; part < parts.length; part++) {
    const { start, count } = parts[part] as Stretch;
    const scale = kept.scales[part] as number;
    for (let i = start; i < start + count; i++) {
      const step = scale * (kept.assigned[i] as number);
      const weighted = (weighting[i] as number) * step;
      product += weighted * (x[i] as number);
      square += weighted * step;
    }
  }
  return square > 0 ? product / square : kept.d;
}

function stretchesOf(count: number): readonly Stretch[] {
  return Array.from({ length: SIZE / count }, (_, part) => ({ x, weighting, start: part * count, count }));
}
