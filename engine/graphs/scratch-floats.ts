/** Memory by name. */
export interface Scratch {
  /** `[length]`, with whatever was in it; the same memory each time for a name. */
  of(name: string, length: number): Float32Array;
}

/** Memory for results that are read at once and then forgotten: fresh pages would cost more than the products. */
export class ScratchFloats implements Scratch {
  readonly #arrays = new Map<string, Float32Array>();

  of(name: string, length: number): Float32Array {
    let array = this.#arrays.get(name);
    if (!array || array.length < length) {
      array = new Float32Array(length);
      this.#arrays.set(name, array);
    }
    return array.subarray(0, length);
  }
}
