import { SeededRandom } from '../calibration/seeded-random';
import { paleyHadamard } from './hadamard-matrix';

/**
 * An orthogonal matrix Q `[size, size]` for vectors x → x Q: random signs, then a Hadamard matrix that is a Kronecker product of
 * Sylvester's of order `doublings` and a dense factor, so that size · (log2(doublings) + factorSize) additions do it.
 */
export interface OrthogonalBasis {
  readonly size: number;
  /** `[size]`, 1 and -1. */
  readonly signs: Int8Array;
  /** A power of two. */
  readonly doublings: number;
  /** size / doublings. */
  readonly factorSize: number;
  /** `[factorSize, factorSize]`, scaled so that Q is orthogonal. */
  readonly factor: Float64Array;
}

/** Up to this order a Hadamard factor is worth its dense product. */
const LARGEST_FACTOR = 1024;

/**
 * Basis of any size: by Sylvester's and Paley's constructions where they reach, else with a random orthogonal factor for the odd
 * part. The signs (and the factor) follow from `seed`.
 *
 * Random signs make the rotation a random one (randomized Hadamard transform: QuIP#, arXiv 2402.04396, section 3).
 */
export function orthogonalBasis(size: number, seed: number): OrthogonalBasis {
  const random = new SeededRandom(seed);
  const signs = Int8Array.from({ length: size }, () => (random.below(2) === 0 ? 1 : -1));
  const powerOfTwo = size & -size;
  const odd = size / powerOfTwo;
  for (let share = 1; share <= powerOfTwo && odd * share <= LARGEST_FACTOR; share *= 2) {
    const hadamard = paleyHadamard(odd * share);
    if (!hadamard) continue;
    const factor = Float64Array.from(hadamard, (sign) => sign / Math.sqrt(size));
    return { size, signs, doublings: powerOfTwo / share, factorSize: odd * share, factor };
  }
  const factor = randomOrthogonal(odd, random).map((value) => value / Math.sqrt(powerOfTwo));
  return { size, signs, doublings: powerOfTwo, factorSize: odd, factor };
}

/** Rows drawn uniformly from the cube, made orthonormal by Gram and Schmidt, twice each for full precision. */
function randomOrthogonal(size: number, random: SeededRandom): Float64Array {
  const matrix = Float64Array.from({ length: size * size }, () => random.below(2 ** 32) / 2 ** 31 - 1);
  const row = (i: number) => matrix.subarray(i * size, (i + 1) * size);
  for (let i = 0; i < size; i++) {
    const current = row(i);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const earlier = row(j);
        const overlap = dot(current, earlier);
        for (let k = 0; k < size; k++) current[k] = (current[k] as number) - overlap * (earlier[k] as number);
      }
      const length = Math.sqrt(dot(current, current));
      for (let k = 0; k < size; k++) current[k] = (current[k] as number) / length;
    }
  }
  return matrix;
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
}
