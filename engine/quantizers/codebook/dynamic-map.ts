const DECADES = 7;

/**
 * The 256 levels of bitsandbytes' signed dynamic type (Dettmers 2021, 8-bit approximations; `create_dynamic_map`), rising, in float32: in every
 * decade from 10⁻⁷ up twice as many as in the one below, the means of equal steps, with both signs; 0 and 1.
 */
export function dynamicMap(): Float32Array {
  const levels: number[] = [0, 1];
  for (let decade = 0; decade < DECADES; decade++) {
    const boundaries = linspace(Math.fround(0.1), 1, 2 ** decade);
    const power = Math.fround(10 ** (decade - DECADES + 1));
    for (let i = 0; i < 2 ** decade; i++) {
      const mean = Math.fround((boundaries[i] as number) + (boundaries[i + 1] as number)) / 2;
      levels.push(Math.fround(power * mean), -Math.fround(power * mean));
    }
  }
  return Float32Array.from(levels).sort();
}

/** `count + 1` numbers as torch computes them in float32: from either end. */
function linspace(start: number, end: number, count: number): Float32Array {
  const step = Math.fround(Math.fround(end - start) / count);
  const middle = Math.floor((count + 1) / 2);
  return Float32Array.from({ length: count + 1 }, (_, i) => (i < middle ? start + step * i : end - step * (count - i)));
}
