import { SeededRandom } from '../calibration/seeded-random';
import { addPositions, createDecodeRunner, createHeadRunner, embed, scaleEmbedding } from '../graphs';
import { refuseLongSequences } from '../models';
import { QuantloomError } from '../spec';
import { denseModel, headTensor, readHead, readStages } from './dense-model';
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
  const { architecture, shape, blocks } = model;
  const maxTokens = promptTokens.length + maxNewTokens;
  refuseLength(promptTokens.length, maxTokens, shape.maxPositions);
  refuseLongSequences(shape, maxTokens, 'Prompt and continuation');

  const embedding = await checkpoint.float(architecture.embedding);
  const positions = architecture.positions === null ? null : await checkpoint.float(architecture.positions);
  let seen = 0;
  const embedNext = (tokens: Int32Array) => {
    const rows = scaleEmbedding(embed(tokens, embedding), shape);
    if (positions) addPositions(rows, positions, { shape, sequenceLength: tokens.length, first: seen });
    seen += tokens.length;
    return rows;
  };
  const weight = shape.tiedHead ? embedding : await checkpoint.float(headTensor(model));
  const head = createHeadRunner({ shape, threads, weight, ...(await readHead(model)) });
  const weights = await readStages(
    blocks.flatMap(({ stages }) => stages),
    checkpoint,
  );
  const decoder = await createDecodeRunner({
    architecture: architecture.name,
    shape,
    blocks,
    weights,
    maxTokens,
    threads,
  });
  const seeded = new SeededRandom(options.seed);
  const random = () => Number(seeded.next() >> 11n) / 2 ** 53;
  const stops = new Set(options.stopTokens);

  let hidden: Float32Array = new Float32Array(0);
  for (let first = 0; first < promptTokens.length; first += PROMPT_CHUNK_TOKENS) {
    signal?.throwIfAborted();
    hidden = await decoder.advance(embedNext(promptTokens.subarray(first, first + PROMPT_CHUNK_TOKENS)));
  }
  const generated: number[] = [];
  while (generated.length < maxNewTokens) {
    signal?.throwIfAborted();
    const logits = await head.logits(hidden.subarray(hidden.length - shape.hiddenSize));
    const token = sampleToken(logits, options, random);
    generated.push(token);
    options.onToken?.(token);
    if (stops.has(token) || generated.length === maxNewTokens) break;
    hidden = await decoder.advance(embedNext(Int32Array.of(token)));
  }
  return Int32Array.from(generated);
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
