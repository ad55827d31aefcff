import { perScale, type ScalingGroup } from './scaling-groups';

/** Share of the difficulty that goes from inputs to weights: 0.5, what the paper has for most models. */
const STRENGTH = 0.5;

/** Linears that share an input, and how large its channels are. */
export interface ChannelsToSmooth {
  /** `[columns]`: the mean of squares of each channel of the input, the diagonal of the Hessian. */
  readonly meanSquares: Float64Array;
  /** Each `[rows, columns]`. */
  readonly weights: readonly Float32Array[];
  readonly channels: Pick<ScalingGroup, 'size' | 'repeats'>;
}

/**
 * Scales that weights are multiplied by and inputs divided by, so that both have channels of more equal magnitude:
 * `s_j = max|X_j|^α / max|W_j|^(1-α)`, α = 0.5 (SmoothQuant: Xiao et al. 2022, arXiv 2211.10438, equation 4), divided by sqrt(max s · min s). The
 * magnitude of a channel of the input is its root mean square in place of its maximum (docs/adr/0033). A channel that was zero in all of the
 * calibration, or in all weights, keeps the scale 1.
 *
 * @returns one per scale of the group: `columns / repeats`.
 */
export function smoothScales({ meanSquares, weights, channels }: ChannelsToSmooth): Float32Array {
  const columns = meanSquares.length;
  const largest = new Float64Array(columns);
  for (const weight of weights) {
    for (let at = 0; at < weight.length; at++) {
      const column = at % columns;
      largest[column] = Math.max(largest[column] as number, Math.abs(weight[at] as number));
    }
  }
  const inputs = perScale(meanSquares, channels).map(Math.sqrt);
  const magnitudes = perScale(largest, channels);
  const scales = inputs.map((input, at) => input ** STRENGTH / (magnitudes[at] as number) ** (1 - STRENGTH));
  const isLive = (scale: number) => scale > 0 && Number.isFinite(scale);
  const live = scales.filter(isLive);
  const middle = Math.sqrt(live.reduce((a, b) => Math.min(a, b), Infinity) * live.reduce((a, b) => Math.max(a, b), 0));
  return Float32Array.from(scales, (scale) => (isLive(scale) ? scale / middle : 1));
}
