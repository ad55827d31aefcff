const MASK = (1n << 64n) - 1n;

/**
 * SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014): 64 uniform bits per call.
 */
export class SeededRandom {
  #state: bigint;

  constructor(seed: number | bigint) {
    this.#state = BigInt(seed) & MASK;
  }

  next(): bigint {
    this.#state = (this.#state + 0x9e3779b97f4a7c15n) & MASK;
    let z = this.#state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    return z ^ (z >> 31n);
  }

  /** An integer in `0 .. bound - 1`: `floor(next() · bound / 2^64)`. */
  below(bound: number): number {
    return Number((this.next() * BigInt(bound)) >> 64n);
  }
}
