/** The value of largest magnitude among `count` from `first` on, with its sign; of equals the first. */
export function largestSigned(values: Float32Array, first: number, count: number): number {
  let largest = values[first] as number;
  let magnitude = Math.abs(largest);
  for (let i = first + 1; i < first + count; i++) {
    const value = values[i] as number;
    if (Math.abs(value) > magnitude) {
      magnitude = Math.abs(value);
      largest = value;
    }
  }
  return largest;
}

export function smallest(values: Float32Array, first: number, count: number): number {
  let least = values[first] as number;
  for (let i = first + 1; i < first + count; i++) if ((values[i] as number) < least) least = values[i] as number;
  return least;
}

export function largest(values: Float32Array, first: number, count: number): number {
  let most = values[first] as number;
  for (let i = first + 1; i < first + count; i++) if ((values[i] as number) > most) most = values[i] as number;
  return most;
}
