/**
 * The weights of the squared errors of one block. Where all are 0 (columns that no calibration text reached) they are 1: any
 * weight may be needed later.
 */
export function fillWeighting(
  weighting: Float64Array,
  importance: Float32Array | undefined,
  firstElement: number,
  subBlockSize: number,
): void {
  if (importance === undefined) {
    weighting.fill(1);
    return;
  }
  const firstColumn = firstElement % importance.length;
  for (let start = 0; start < weighting.length; start += subBlockSize) {
    let sum = 0;
    for (let i = start; i < start + subBlockSize; i++) sum += weighting[i] = importance[firstColumn + i] as number;
    if (sum === 0) weighting.fill(1, start, start + subBlockSize);
  }
}
