import type { ExpertShape, ModelShape } from '../models/architecture';
import type { ExpertProducts } from './decoder-operators';
import { gathered, placesByExpert } from './native-routing';
import type { Scratch } from './scratch-floats';

/** The linears of experts on some tokens' rows; without `expert` those of the shared one. What comes back lasts until the next call. */
export interface NativeExpertLayer {
  /** SiLU(gate(x)) · up(x). */
  products(rows: Float32Array, expert?: number): Float32Array;
  /** down(x). */
  outputs(rows: Float32Array, expert?: number): Float32Array;
}

/** The operators of a mixture of experts on arrays: the rows of an expert's tokens are gathered, and what it makes of them is put in its places. */
export class NativeExperts {
  constructor(
    private readonly shape: Pick<ModelShape, 'hiddenSize' | 'experts'>,
    private readonly scratch: Scratch,
    private readonly layer: NativeExpertLayer,
  ) {}

  /**
   * See `DecoderOperators.expertProducts`.
   *
   * @param allExperts capture the products of all experts.
   */
  products(x: Float32Array, routing: Float32Array, allExperts: boolean): ExpertProducts<Float32Array> {
    const { hiddenSize, experts } = this.shape;
    const { scratch } = this;
    const { count, perToken, intermediateSize, sharedIntermediateSize } = experts as ExpertShape;
    const features = perToken * intermediateSize + sharedIntermediateSize;
    const tokens = x.length / hiddenSize;
    const products = scratch.of('expert products', tokens * features);
    const allFeatures = count * intermediateSize + sharedIntermediateSize;
    const all = allExperts ? scratch.of('all products', tokens * allFeatures) : null;
    for (const [expert, places] of placesByExpert(routing, tokens, experts as ExpertShape).entries()) {
      if (places.length === 0 && !all) continue;
      const chosen = places.map((place) => Math.floor(place / perToken));
      const rows = all ? x : gathered(x, hiddenSize, chosen, scratch.of('expert input', chosen.length * hiddenSize));
      const product = this.layer.products(rows, expert);
      const rowOf = (row: number) => product.subarray(row * intermediateSize, (row + 1) * intermediateSize);
      for (const [i, place] of places.entries()) {
        const token = Math.floor(place / perToken);
        products.set(rowOf(all ? token : i), token * features + (place % perToken) * intermediateSize);
      }
      if (!all) continue;
      for (let token = 0; token < tokens; token++)
        all.set(rowOf(token), token * allFeatures + expert * intermediateSize);
    }
    if (sharedIntermediateSize > 0) {
      const product = this.layer.products(x);
      for (let token = 0; token < tokens; token++) {
        const row = product.subarray(token * sharedIntermediateSize, (token + 1) * sharedIntermediateSize);
        products.set(row, (token + 1) * features - sharedIntermediateSize);
        all?.set(row, (token + 1) * allFeatures - sharedIntermediateSize);
      }
    }
    return { products, captured: all ?? products };
  }

  /** See `DecoderOperators.expertSum`. */
  sum(products: Float32Array, routing: Float32Array): Float32Array {
    const { hiddenSize, experts } = this.shape;
    const { scratch } = this;
    const { perToken, intermediateSize, sharedIntermediateSize } = experts as ExpertShape;
    const features = perToken * intermediateSize + sharedIntermediateSize;
    const tokens = products.length / features;
    const choices = routing.length / tokens;
    const sum = scratch.of('expert sum', tokens * hiddenSize).fill(0);
    const add = (token: number, weight: number, output: Float32Array, row: number) => {
      for (let i = 0; i < hiddenSize; i++) {
        const at = token * hiddenSize + i;
        sum[at] = (sum[at] as number) + weight * (output[row * hiddenSize + i] as number);
      }
    };
    for (const [expert, places] of placesByExpert(routing, tokens, experts as ExpertShape).entries()) {
      if (places.length === 0) continue;
      const rows = scratch.of('expert input', places.length * intermediateSize);
      for (const [i, place] of places.entries()) {
        const first = Math.floor(place / perToken) * features + (place % perToken) * intermediateSize;
        rows.set(products.subarray(first, first + intermediateSize), i * intermediateSize);
      }
      const output = this.layer.outputs(rows, expert);
      for (const [i, place] of places.entries()) {
        const token = Math.floor(place / perToken);
        add(token, routing[token * choices + perToken + (place % perToken)] as number, output, i);
      }
    }
    if (sharedIntermediateSize === 0) return sum;
    const shared = scratch.of('expert input', tokens * sharedIntermediateSize);
    for (let token = 0; token < tokens; token++) {
      const end = (token + 1) * features;
      shared.set(products.subarray(end - sharedIntermediateSize, end), token * sharedIntermediateSize);
    }
    const output = this.layer.outputs(shared);
    for (let token = 0; token < tokens; token++)
      add(token, routing[(token + 1) * choices - 1] as number, output, token);
    return sum;
  }
}
