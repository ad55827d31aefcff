import { floatsOnLines, type NativeAddon } from '../kernels';

/** Memory for results that are read at once and then forgotten: fresh pages would cost more than the products. */
export class ScratchFloats {
  readonly #arrays = new Map<string, Float32Array>();

  /** @param native whose kernels it is for; null: others. */
  constructor(private readonly native: NativeAddon | null = null) {}

  /** `[length]`, with whatever was in it; the same memory each time for a name. */
  of(name: string, length: number): Float32Array {
    let array = this.#arrays.get(name);
    if (!array || array.length < length) {
      array = floatsOnLines(this.native, length);
      this.#arrays.set(name, array);
    }
    return array.subarray(0, length);
  }
}
