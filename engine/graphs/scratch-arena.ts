import { floatsOnLines, type NativeAddon } from '../kernels';
import type { Scratch } from './scratch-floats';

/** Floats of a cache line. */
const LINE = 16;

/**
 * Memory for what one batch leaves on its way through a stage: pieces of one array, which the next batch writes over, of whatever stage. As large as the
 * batch needs that needs the most.
 */
export class ScratchArena implements Scratch {
  #memory: Float32Array;
  #end = 0;
  readonly #pieces = new Map<string, Float32Array>();
  /** Of a name whose lengths differ, those of experts say, the longest: it has one piece then. */
  readonly #longest = new Map<string, number>();

  constructor(private readonly native: NativeAddon) {
    this.#memory = floatsOnLines(native, 0);
  }

  /** Nobody reads any more what the last batch left. */
  restart(): void {
    if (this.#end > this.#memory.length) this.#memory = floatsOnLines(this.native, this.#end);
    this.#end = 0;
    this.#pieces.clear();
  }

  of(name: string, length: number): Float32Array {
    let piece = this.#pieces.get(name);
    if (!piece || piece.length < length) {
      piece = this.#next(Math.max(length, this.#longest.get(name) ?? 0));
      this.#pieces.set(name, piece);
      this.#longest.set(name, piece.length);
    }
    return piece.subarray(0, length);
  }

  #next(length: number): Float32Array {
    const first = this.#end;
    this.#end += Math.ceil(length / LINE) * LINE;
    // Its own, until the next batch knows how much there is to be.
    if (this.#end > this.#memory.length) return floatsOnLines(this.native, length);
    return this.#memory.subarray(first, first + length);
  }
}
