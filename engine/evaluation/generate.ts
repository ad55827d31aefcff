import { SeededRandom } from '../calibration/seeded-random';
import { createDecodeRunner, createHeadRunner, embed } from '../graphs';
import { type FloatTensor, QuantloomError } from '../spec';
import { type DenseModel, denseModel, headTensor, readHead } from './dense-model';
import type { DenseReader } from './dense-reader';
import { type SamplingOptions, sampleToken } from './sample-token';

export interface GenerateOptions extends SamplingOptions {
  readonly checkpoint: DenseReader;
  readonly promptTokens: Int32Array;
  readonly maxNewTokens: number;
  /** Of the sampling; the same seed gives the same tokens. */
  readonly seed: number;
  /** Tokens that end the text; the one that did is part of the result. */
  readonly stopTokens?: readonly number[];
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Called with each new token. */
  readonly onToken?: (token: number) => void;
}

/** Prompt tokens that pass through the layers at once: bounds the attention scores of a long prompt. */
const PROMPT_CHUNK_TOKENS = 256;

/**
 * Continues a prompt, one token at a time, with a key-value cache. All weights are held in memory in float32: 4 bytes per parameter.
 *
 * @returns the new tokens.
 * @throws QuantloomError UnsupportedInput for an empty prompt, a token outside the vocabulary, or more tokens than the model has
 * positions; InvalidModel, UnsupportedArchitecture.
 */
export async function generate(options: GenerateOptions): Promise<Int32Array> {
  const { checkpoint, promptTokens, maxNewTokens, threads, signal } = options;
  const model = denseModel(checkpoint);
  const { shape, layers } = model;
  const maxTokens = promptTokens.length + maxNewTokens;
  refuseLength(promptTokens.length, maxTokens, shape.maxPositions);

  const embedding = await checkpoint.float(model.architecture.embedding);
  const weight = shape.tiedHead ? embedding : await checkpoint.float(headTensor(model));
  const head = createHeadRunner({ shape, threads, weight, ...(await readHead(model)) });
  const decoder = await createDecodeRunner({ shape, layers, weights: await layerWeights(model), maxTokens, threads });
  const seeded = new SeededRandom(options.seed);
  const random = () => Number(seeded.next() >> 11n) / 2 ** 53;
  const stops = new Set(options.stopTokens);

  let hidden: Float32Array = new Float32Array(0);
  for (let first = 0; first < promptTokens.length; first += PROMPT_CHUNK_TOKENS) {
    signal?.throwIfAborted();
    hidden = await decoder.advance(embed(promptTokens.subarray(first, first + PROMPT_CHUNK_TOKENS), embedding));
  }
  const generated: number[] = [];
  while (generated.length < maxNewTokens) {
    signal?.throwIfAborted();
    const logits = await head.logits(hidden.subarray(hidden.length - shape.hiddenSize));
    const token = sampleToken(logits, options, random);
    generated.push(token);
    options.onToken?.(token);
    if (stops.has(token) || generated.length === maxNewTokens) break;
    hidden = await decoder.advance(embed(Int32Array.of(token), embedding));
  }
  return Int32Array.from(generated);
}

async function layerWeights({ reader, layers }: DenseModel): Promise<Map<string, FloatTensor>> {
  const weights = new Map<string, FloatTensor>();
  for (const layer of layers) {
    for (const name of layer.tensors.keys()) weights.set(name, await reader.float(name));
  }
  return weights;
}

function refuseLength(promptTokens: number, maxTokens: number, maxPositions: number): void {
  if (promptTokens > 0 && maxTokens <= maxPositions) return;
  throw new QuantloomError(
    'UnsupportedInput',
    promptTokens === 0
      ? 'The prompt has no tokens. Give at least one, e.g. the beginning-of-text token.'
      : `Prompt and continuation would take ${maxTokens} tokens; the model has ${maxPositions} positions. Shorten the prompt or ask for fewer new tokens.`,
    { details: { promptTokens, maxTokens, maxPositions } },
  );
}
