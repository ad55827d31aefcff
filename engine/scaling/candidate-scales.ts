/** How scales are made of the magnitudes of inputs and weights. */
export interface ScalingRule {
  /** 0: no scaling by inputs; 1: as large as the inputs are. */
  readonly ratio: number;
  /** Divided by the weights' magnitudes to the power of 1 - ratio. */
  readonly byWeights: boolean;
}

/** Points of the grid over the ratio, 0 included. */
const RATIOS = 20;

/** The rules that are tried: those of AWQ (Lin et al. 2023, section 3.2), and those that AutoAWQ calls duo scaling. The first leaves all as it is. */
export const SCALING_RULES: readonly ScalingRule[] = [false, true].flatMap((byWeights) =>
  Array.from({ length: RATIOS }, (_, step) => ({ ratio: step / RATIOS, byWeights })),
);

const SMALLEST = 1e-4;

/**
 * Scales by which weights are multiplied, and the input divided: `s = x^ratio`, or `s = x^ratio / (w^(1 - ratio) + 1e-4)`; then divided by
 * sqrt(max s · min s). A channel that was zero in all of the calibration keeps the scale 1.
 *
 * Source: AutoAWQ 0.2, `AwqQuantizer._compute_best_scale`.
 *
 * @param inputs `[scales]`: magnitude of the input
 * @param weights `[scales]`: mean magnitude of the weights, relative to the largest of their group
 */
export function candidateScales(
  inputs: Float64Array,
  weights: Float64Array,
  { ratio, byWeights }: ScalingRule,
): Float32Array {
  const scales = inputs.map((input, at) => {
    const byInput = input ** ratio;
    const scale = byWeights ? byInput / ((weights[at] as number) ** (1 - ratio) + SMALLEST) : byInput;
    return Math.max(scale, SMALLEST);
  });
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  scales.forEach((scale, at) => {
    if (inputs[at] === 0) return;
    least = Math.min(least, scale);
    most = Math.max(most, scale);
  });
  const middle = Math.sqrt(least * most);
  return Float32Array.from(scales, (scale, at) => (inputs[at] === 0 ? 1 : scale / middle));
}

/**
 * Mean over the rows of all weights of |w| relative to the largest of its group of columns.
 *
 * @param weights each `[rows, columns]`
 * @returns `[columns]`
 */
export function weightMagnitudes(
  weights: readonly Float32Array[],
  { columns, groupSize }: { readonly columns: number; readonly groupSize: number },
): Float64Array {
  const means = new Float64Array(columns);
  const width = groupSize === -1 ? columns : groupSize;
  let rows = 0;
  for (const weight of weights) {
    rows += weight.length / columns;
    for (let start = 0; start < weight.length; start += width) {
      const first = start % columns;
      const end = Math.min(width, columns - first);
      let largest = 0;
      for (let i = 0; i < end; i++) largest = Math.max(largest, Math.abs(weight[start + i] as number));
      for (let i = 0; i < end; i++) {
        means[first + i] = (means[first + i] as number) + Math.abs(weight[start + i] as number) / (largest + 1e-6);
      }
      // A last group that is shorter.
      if (end < width) start += end - width;
    }
  }
  return means.map((sum) => sum / rows);
}
