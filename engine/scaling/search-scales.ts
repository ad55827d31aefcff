import { setImmediate } from 'node:timers/promises';
import { prepareHessian, quantizeRowRange } from '../quantizers';
import type { Recipe } from '../spec';
import { candidateScales, SCALING_RULES, type ScalingRule, weightMagnitudes } from './candidate-scales';
import { perChannel, perScale, type ScalingGroup } from './scaling-groups';

/** Linears that share an input, and what is known of it. */
export interface ScalesToSearch {
  /** `[columns, columns]`, mean of x xᵀ per token. */
  readonly hessian: Float32Array;
  readonly columns: number;
  readonly linears: readonly {
    /** For messages. */
    readonly name: string;
    /** `[rows, columns]`. */
    readonly weight: Float32Array;
    readonly recipe: Recipe;
  }[];
  readonly channels: Pick<ScalingGroup, 'size' | 'repeats'>;
  readonly minimumZero: 0 | 1;
  /** Default 2. The result does not depend on it. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

export interface FoundScales {
  /** One per scale of the group: `columns / repeats`. */
  readonly scales: Float32Array;
  readonly rule: ScalingRule;
  /** Σ tr(ΔW H ΔWᵀ) over the rows that were searched, relative to that of the weights as they are. */
  readonly relativeToUnscaled: number;
}

/** Rows of a group that candidates are tried on, spread evenly: more change the choice in the third digit of the error (docs/adr/0027). */
const ROWS_SEARCHED = 512;
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Scales of input channels under which rounding to nearest costs the outputs least (AWQ: Lin et al. 2023, arXiv 2306.00978, equation 4), over the
 * grid of `SCALING_RULES`. The error of a candidate is Σ tr(ΔW H ΔWᵀ) over the linears, which H alone gives: exact where one linear reads
 * the input, an approximation of the parent module's where several do (docs/adr/0027). Memory: H in float32 twice, in float64 once.
 *
 * @throws QuantloomError as quantizeLinear; the signal's reason when aborted.
 */
export async function searchScales(options: ScalesToSearch): Promise<FoundScales> {
  const { hessian, columns, channels, signal } = options;
  const linears = someRows(options);
  const diagonal = Float64Array.from({ length: columns }, (_, i) => Math.max(0, hessian[i * columns + i] as number));
  const inputs = perScale(diagonal, channels).map(Math.sqrt);
  const groupSize = linears[0]?.recipe.groupSize ?? -1;
  const magnitudes = weightMagnitudes(
    linears.map(({ weight }) => weight),
    { columns, groupSize },
  );
  const weights = perScale(magnitudes, channels);
  const memory = {
    scaled: new Float32Array(hessian.length),
    prepared: new SharedArrayBuffer(hessian.length * Float64Array.BYTES_PER_ELEMENT),
  };
  let best: (FoundScales & { readonly error: number }) | null = null;
  let unscaled = 0;
  for (const rule of SCALING_RULES) {
    signal?.throwIfAborted();
    const scales = candidateScales(inputs, weights, rule);
    const error = await errorUnder(perChannel(scales, channels), { ...options, linears }, memory);
    if (best === null) unscaled = error;
    // The first of equals: no scaling before any.
    if (best !== null && !(error < best.error)) continue;
    best = { scales, rule, error, relativeToUnscaled: unscaled > 0 ? error / unscaled : 1 };
  }
  const { scales, rule, relativeToUnscaled } = best as FoundScales;
  return { scales, rule, relativeToUnscaled };
}

function someRows({ linears, columns }: ScalesToSearch): ScalesToSearch['linears'] {
  const rows = linears.reduce((sum, { weight }) => sum + weight.length / columns, 0);
  const step = Math.max(1, Math.floor(rows / ROWS_SEARCHED));
  return linears.map((linear) => {
    const kept = Math.ceil(linear.weight.length / columns / step);
    const weight = new Float32Array(kept * columns);
    for (let row = 0; row < kept; row++) {
      const from = row * step * columns;
      weight.set(linear.weight.subarray(from, from + columns), row * columns);
    }
    return { ...linear, weight };
  });
}

/** Of W diag(s) under diag(s)⁻¹ H diag(s)⁻¹: that of the outputs. */
async function errorUnder(
  scales: Float32Array,
  { hessian, columns, linears, minimumZero, threads, signal }: ScalesToSearch,
  memory: { readonly scaled: Float32Array; readonly prepared: SharedArrayBuffer },
): Promise<number> {
  const rowsPerTurn = Math.max(1, Math.floor(NUMBERS_PER_TURN / columns));
  for (let i = 0; i < columns; i++) {
    const own = scales[i] as number;
    for (let j = 0; j < columns; j++) {
      memory.scaled[i * columns + j] = (hessian[i * columns + j] as number) / (own * (scales[j] as number));
    }
    if (i % rowsPerTurn === rowsPerTurn - 1) await setImmediate();
  }
  const prepared = await prepareHessian(memory.scaled, { memory: memory.prepared });
  let error = 0;
  for (const { name, weight, recipe } of linears) {
    const rows = weight.length / columns;
    const scaled = weight.map((value, at) => value * (scales[at % columns] as number));
    const { blocks } = await quantizeRowRange(
      {
        weight: scaled,
        ...{ rows, columns, hessian: prepared, minimumZero, name, threads, signal },
        recipe: { ...recipe, method: 'rtn', scales: 'minmax' },
      },
      { first: 0, count: rows },
    );
    for (const { errors } of blocks) for (const rowError of errors) error += rowError / prepared.scale;
  }
  return error;
}
