import type { NativeAddon } from '../kernels';
import type { ExpertShape, ModelShape } from '../models/architecture';
import type { Scratch } from './scratch-floats';

interface Bench {
  readonly native: NativeAddon;
  readonly threads: number;
  readonly scratch: Scratch;
}

/**
 * The routing of tokens, as `DecoderOperators.route` describes it: in float32, so that no rounding of linears sends a token elsewhere. Of equal
 * experts the first is chosen, as ONNX's TopK does.
 *
 * @param x `[tokens, hiddenSize]`
 * @param routers.router `[experts, hiddenSize]`
 * @param routers.shared `[1, hiddenSize]`
 */
export function routeTokens(
  x: Float32Array,
  { router, shared }: { readonly router: Float32Array; readonly shared: Float32Array | null },
  { hiddenSize, experts }: ModelShape,
  bench: Bench,
): Float32Array {
  const { count, perToken, normalized } = experts as ExpertShape;
  const tokens = x.length / hiddenSize;
  const features = 2 * perToken + (shared ? 1 : 0);
  const routing = bench.scratch.of('routing', tokens * features);
  const across = transposedInto(x, hiddenSize, bench.scratch.of('hidden across', x.length));
  const logits = products(across, tokens, router, hiddenSize, bench);
  const sharedLogits = shared && products(across, tokens, shared, hiddenSize, bench);
  const probabilities = new Float64Array(count);
  for (let token = 0; token < tokens; token++) {
    softmax(logits.subarray(token * count, (token + 1) * count), probabilities);
    const row = routing.subarray(token * features, (token + 1) * features);
    let sum = 0;
    for (let place = 0; place < perToken; place++) {
      const best = largest(probabilities);
      row[place] = best;
      row[perToken + place] = probabilities[best] as number;
      sum += probabilities[best] as number;
      probabilities[best] = Number.NEGATIVE_INFINITY;
    }
    for (let at = perToken; normalized && at < 2 * perToken; at++) row[at] = (row[at] as number) / sum;
    if (sharedLogits) row[2 * perToken] = 1 / (1 + Math.exp(-(sharedLogits[token] as number)));
  }
  return routing;
}

/** `[tokens, rows]`: x weightᵀ of `across`, x transposed: sums over 512 columns in float32, float64 beyond. */
function products(
  across: Float32Array,
  tokens: number,
  weight: Float32Array,
  columns: number,
  { native, threads, scratch }: Bench,
): Float64Array {
  const rows = weight.length / columns;
  const sums = new Float64Array(tokens * rows);
  const weightAcross = transposedInto(weight, columns, scratch.of('router across', weight.length));
  native.addProduct(sums, across, tokens, weightAcross, rows, false, threads);
  return sums;
}

function transposedInto(x: Float32Array, columns: number, y: Float32Array): Float32Array {
  const rows = x.length / columns;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) y[column * rows + row] = x[row * columns + column] as number;
  }
  return y;
}

function softmax(logits: Float64Array, probabilities: Float64Array): void {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of logits) most = Math.max(most, logit);
  let sum = 0;
  logits.forEach((logit, i) => {
    probabilities[i] = Math.exp(logit - most);
    sum += probabilities[i] as number;
  });
  for (let i = 0; i < probabilities.length; i++) probabilities[i] = (probabilities[i] as number) / sum;
}

/** The place of the first of the largest; of what holds NaN, some place. */
function largest(values: Float64Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** By expert the places (token · perToken + its nth choice) that it is chosen in. */
export function placesByExpert(
  routing: Float32Array,
  tokens: number,
  { count, perToken }: ExpertShape,
): readonly (readonly number[])[] {
  const places: number[][] = Array.from({ length: count }, () => []);
  const choices = routing.length / tokens;
  for (let token = 0; token < tokens; token++) {
    for (let choice = 0; choice < perToken; choice++) {
      places[routing[token * choices + choice] as number]?.push(token * perToken + choice);
    }
  }
  return places;
}

/** `[rows, columns]`: these rows of x, in `y`. */
export function gathered(x: Float32Array, columns: number, rows: readonly number[], y: Float32Array): Float32Array {
  for (const [i, row] of rows.entries()) y.set(x.subarray(row * columns, (row + 1) * columns), i * columns);
  return y;
}
