import { roundToFloat16 } from '../../../numbers';
import type { Stretch } from './fit-scale';
import { assignCodes, fitShiftedScale } from './fit-shifted-scale';
import { fillWeighting } from './weighting';

const SIZE = 256;
const MOST_ROUNDS = 3;

/** A super-block of 256: `x = d · scales[sub-block] · q - dmin · mins[sub-block]`. */
export interface ShiftedSuperBlock {
  /** A float16, as `dmin`. */
  d: number;
  dmin: number;
  readonly scales: Uint8Array;
  readonly mins: Uint8Array;
  readonly codes: Uint8Array;
}

export interface ShiftedSuperBlocksSearch {
  readonly values: Float32Array;
  readonly blocks: Uint8Array;
  readonly importance: Float32Array | undefined;
  readonly highest: number;
  readonly subBlockSize: number;
  /** Largest integer scale and minimum of a sub-block. */
  readonly scaleLimit: number;
  readonly blockBytes: number;
  pack(block: ShiftedSuperBlock, blocks: Uint8Array, at: number): void;
}

const x = new Float64Array(SIZE);
const weighting = new Float64Array(SIZE);
const trial = new Uint8Array(SIZE);
const wantedScales = new Float64Array(16);
const wantedMins = new Float64Array(16);
const found = { scale: 0, shift: 0 };
const kept = emptyBlock();
const tried = emptyBlock();
const line = { d: 0, dmin: 0 };
const stretches = new Map([16, 32].map((count) => [count, stretchesOf(count)]));

/**
 * Encodes super-blocks with two float16 and an integer scale and minimum per sub-block (Q2_K, Q4_K, Q5_K) with the least weighted
 * error found, in the steps of `searchScaledSuperBlocks`.
 */
export function searchShiftedSuperBlocks(search: ShiftedSuperBlocksSearch): void {
  const { values, blocks, importance, highest, subBlockSize, scaleLimit, blockBytes, pack } = search;
  const parts = stretches.get(subBlockSize) as readonly Stretch[];
  for (let at = 0, first = 0; first < values.length; at += blockBytes, first += SIZE) {
    for (let i = 0; i < SIZE; i++) x[i] = values[first + i] as number;
    fillWeighting(weighting, importance, first, SIZE);
    let mostScale = 0;
    let mostMin = 0;
    for (let part = 0; part < parts.length; part++) {
      fitShiftedScale(parts[part] as Stretch, highest, true, found);
      wantedScales[part] = found.scale;
      wantedMins[part] = -found.shift;
      mostScale = Math.max(mostScale, found.scale);
      mostMin = Math.max(mostMin, -found.shift);
    }
    line.d = roundToFloat16(mostScale / scaleLimit);
    line.dmin = roundToFloat16(mostMin / scaleLimit);
    improve(parts, highest, scaleLimit);
    pack(kept, blocks, at);
  }
}

/** Leaves the best super-block in `kept`, starting from `line`. */
function improve(parts: readonly Stretch[], highest: number, scaleLimit: number): void {
  let least = Infinity;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    tried.d = line.d;
    tried.dmin = line.dmin;
    const error = chooseScales(parts, highest, scaleLimit);
    if (!(error < least)) return;
    least = error;
    kept.d = tried.d;
    kept.dmin = tried.dmin;
    kept.scales.set(tried.scales);
    kept.mins.set(tried.mins);
    kept.codes.set(tried.codes);
    leastSquares(parts);
    if (line.d === kept.d && line.dmin === kept.dmin) return;
  }
}

/** Integer scales, minimums and codes for the d and dmin of `tried`; returns the error. */
function chooseScales(parts: readonly Stretch[], highest: number, scaleLimit: number): number {
  const { d, dmin } = tried;
  let error = 0;
  for (let part = 0; part < parts.length; part++) {
    const stretch = parts[part] as Stretch;
    const { start, count } = stretch;
    const scaleAt = d === 0 ? 0 : Math.min(scaleLimit, Math.round((wantedScales[part] as number) / d));
    const minAt = dmin === 0 ? 0 : Math.min(scaleLimit, Math.round((wantedMins[part] as number) / dmin));
    let least = Infinity;
    for (let scale = Math.max(0, scaleAt - 1); scale <= Math.min(scaleLimit, scaleAt + 1); scale++) {
      for (let min = Math.max(0, minAt - 1); min <= Math.min(scaleLimit, minAt + 1); min++) {
        const now = assignCodes(stretch, d * scale, -dmin * min, highest, trial);
        if (now >= least) continue;
        least = now;
        tried.scales[part] = scale;
        tried.mins[part] = min;
        for (let i = start; i < start + count; i++) tried.codes[i] = trial[i] as number;
      }
    }
    error += least;
  }
  return error;
}

/** The d and dmin of least error for the integers in `kept`, in `line`. */
function leastSquares(parts: readonly Stretch[]): void {
  let steps2 = 0;
  let mins2 = 0;
  let both = 0;
  let stepsX = 0;
  let minsX = 0;
  for (let part = 0; part < parts.length; part++) {
    const { start, count } = parts[part] as Stretch;
    const scale = kept.scales[part] as number;
    const min = kept.mins[part] as number;
    for (let i = start; i < start + count; i++) {
      const weight = weighting[i] as number;
      const step = scale * (kept.codes[i] as number);
      const value = x[i] as number;
      steps2 += weight * step * step;
      mins2 += weight * min * min;
      both += weight * step * min;
      stepsX += weight * step * value;
      minsX += weight * min * value;
    }
  }
  line.d = kept.d;
  line.dmin = kept.dmin;
  // Normal equations of x ≈ d·step - dmin·min.
  const determinant = steps2 * mins2 - both * both;
  if (mins2 === 0 && steps2 > 0) {
    line.d = roundToFloat16(stepsX / steps2);
  } else if (determinant > 1e-9 * steps2 * mins2) {
    const d = (stepsX * mins2 - both * minsX) / determinant;
    const dmin = (stepsX * both - minsX * steps2) / determinant;
    if (d > 0 && dmin >= 0) {
      line.d = roundToFloat16(d);
      line.dmin = roundToFloat16(dmin);
    }
  }
}

function emptyBlock(): ShiftedSuperBlock {
  return { d: 0, dmin: 0, scales: new Uint8Array(16), mins: new Uint8Array(16), codes: new Uint8Array(SIZE) };
}

function stretchesOf(count: number): readonly Stretch[] {
  return Array.from({ length: SIZE / count }, (_, part) => ({ x, weighting, start: part * count, count }));
}
