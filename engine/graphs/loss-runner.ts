import { Tensor } from 'onnxruntime-node';
import { architectureNamed } from '../models';
import type { LinearShape, ModelShape } from '../models/architecture';
import { decodeFloats } from '../numbers';
import { DTYPE_BITS, type FloatTensor, type Tensor as StoredTensor } from '../spec';
import { DecoderGraph } from './decoder-graph';
import { finalNormFeeds } from './head-runner';
import { invariantThreads } from './invariant-threads';
import { type SessionOptions, sessionFor } from './session-pool';
import { floatFeed, linearFeeds } from './stage-feeds';
import { softCapped } from './windowed-attention';

export interface LossRunnerOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  /** Final norm `[hiddenSize]`. */
  readonly norm: FloatTensor;
  /** `[hiddenSize]`, where the norm has one. */
  readonly normBias?: FloatTensor;
  /** The head, or the embedding when they are tied, as it is stored: `[vocabulary, hiddenSize]`. */
  readonly weight: StoredTensor;
  /** `[vocabulary]`. */
  readonly bias?: FloatTensor;
}

/** -log p(target) of tokens under the head; memory does not depend on the size of the vocabulary. */
export interface LossRunner {
  /**
   * @param hidden `[tokens, hiddenSize]`: what the last layer left, not yet normed.
   * @param targets `[tokens]`, inside the vocabulary.
   * @returns nats, `[tokens]`.
   */
  negativeLogLikelihoods(hidden: Float32Array, targets: Int32Array, signal?: AbortSignal): Promise<Float64Array>;
}

/** Rows of the head that are decoded and multiplied at once, and tokens: logits of 8 MiB. */
const BLOCK_ROWS = 4096;
const BATCH_TOKENS = 512;

/**
 * The head a block of rows at a time: log Σ exp(z) over the vocabulary is put together, in float64, from those over the blocks.
 *
 * @throws QuantloomError InvalidModel when a weight has another shape.
 */
export function createLossRunner(options: LossRunnerOptions): LossRunner {
  const { hiddenSize, vocabularySize } = options.shape;
  return {
    async negativeLogLikelihoods(hidden, targets, signal) {
      const tokens = targets.length;
      const normed = await normalize(hidden, options);
      const logSums = new Float64Array(tokens).fill(Number.NEGATIVE_INFINITY);
      const chosen = new Float64Array(tokens);
      const memory = new Float32Array(Math.min(BLOCK_ROWS, vocabularySize) * hiddenSize);
      for (let row = 0; row < vocabularySize; row += BLOCK_ROWS) {
        const block = headBlock(row, Math.min(vocabularySize, row + BLOCK_ROWS), memory, options);
        for (let first = 0; first < tokens; first += BATCH_TOKENS) {
          signal?.throwIfAborted();
          const end = Math.min(tokens, first + BATCH_TOKENS);
          const rows = normed.subarray(first * hiddenSize, end * hiddenSize);
          const found = await block(rows, targets.subarray(first, end));
          for (let i = first; i < end; i++) {
            logSums[i] = logAddExp(logSums[i] as number, found.logSum(i - first));
            chosen[i] = found.chosen(i - first) ?? (chosen[i] as number);
          }
        }
      }
      return logSums.map((sum, i) => sum - (chosen[i] as number));
    },
  };
}

async function normalize(hidden: Float32Array, options: LossRunnerOptions): Promise<Float32Array> {
  const { hiddenSize, normEpsilon } = options.shape;
  const { norm } = architectureNamed(options.architecture);
  const session = await sessionFor(JSON.stringify([norm, hiddenSize, normEpsilon]), options, () => {
    const graph = new DecoderGraph('norm', { shape: options.shape, norm, linears: [] });
    graph.builder.output('normed', graph.norm(graph.activation('hidden')), ['tokens', hiddenSize]);
    return graph.builder.build();
  });
  const shape = [hidden.length / hiddenSize, hiddenSize];
  const normed = new Float32Array(hidden.length);
  await session.run(
    { hidden: floatFeed(hidden, shape), ...finalNormFeeds(options) },
    { normed: floatFeed(normed, shape) },
  );
  return normed;
}

/** Of one batch of tokens: log Σ exp(z) over the block's rows, and z of the target where it is one of them. */
interface BlockLogits {
  logSum(token: number): number;
  chosen(token: number): number | null;
}

/** `memory`: for the block in float32. */
function headBlock(firstRow: number, endRow: number, memory: Float32Array, options: LossRunnerOptions) {
  const { hiddenSize } = options.shape;
  const head: LinearShape = {
    name: 'lm_head',
    role: 'head',
    rows: endRow - firstRow,
    columns: hiddenSize,
    bias: options.bias !== undefined,
  };
  const tensors = new Map([['lm_head.weight', rowsOf(options.weight, firstRow, endRow, memory)]]);
  if (options.bias) {
    tensors.set('lm_head.bias', { shape: [head.rows], data: options.bias.data.slice(firstRow, endRow) });
  }
  const weights = linearFeeds([head], tensors);
  const key = JSON.stringify(['loss', hiddenSize, head.rows, head.bias, options.shape.logitCap]);

  return async (normed: Float32Array, targets: Int32Array): Promise<BlockLogits> => {
    const tokens = targets.length;
    const threads = invariantThreads(options.threads, tokens, [head]);
    const session = await sessionFor(key, { ...options, threads }, () => blockGraph(options.shape, head));
    const isHere = (token: number) => token >= firstRow && token < endRow;
    const ids = BigInt64Array.from(targets, (token) => BigInt(isHere(token) ? token - firstRow : 0));
    const outputs = { logit: new Float32Array(tokens), logProbability: new Float32Array(tokens) };
    await session.run(
      {
        ...weights,
        normed: floatFeed(normed, [tokens, hiddenSize]),
        targets: new Tensor('int64', ids, [tokens, 1]),
      },
      {
        logit: floatFeed(outputs.logit, [tokens, 1]),
        logProbability: floatFeed(outputs.logProbability, [tokens, 1]),
      },
    );
    const logit = (i: number) => outputs.logit[i] as number;
    return {
      logSum: (i) => logit(i) - (outputs.logProbability[i] as number),
      chosen: (i) => (isHere(targets[i] as number) ? logit(i) : null),
    };
  };
}

function rowsOf({ dtype, shape, data }: StoredTensor, first: number, end: number, memory: Float32Array): FloatTensor {
  const columns = shape[1] as number;
  const rowBytes = (columns * DTYPE_BITS[dtype]) / 8;
  const block = { dtype, shape: [end - first, columns], data: data.subarray(first * rowBytes, end * rowBytes) };
  return { shape: block.shape, data: decodeFloats(block, memory.subarray(0, (end - first) * columns)) };
}

/**
 * One logit of each token and its log-probability within the block; their difference is log Σ exp(z). LogSoftmax rather than
 * ReduceLogSumExp: that one adds the exponentials one by one in float32.
 */
function blockGraph(shape: ModelShape, head: LinearShape): Uint8Array {
  const graph = new DecoderGraph('loss', { shape, linears: [head] });
  const { builder } = graph;
  const products = graph.linear('head', builder.input('normed', ['tokens', shape.hiddenSize]));
  const logits = softCapped(builder, products, shape.logitCap ?? null);
  const logProbabilities = builder.node('LogSoftmax', [logits], { axis: -1n });
  const targets = builder.input('targets', ['tokens', 1], 'int64');
  const targetOf = (values: string) => builder.node('GatherElements', [values, targets], { axis: 1n });
  builder.output('logit', targetOf(logits), ['tokens', 1]);
  builder.output('logProbability', targetOf(logProbabilities), ['tokens', 1]);
  return builder.build();
}

function logAddExp(a: number, b: number): number {
  const most = Math.max(a, b);
  return most + Math.log1p(Math.exp(-Math.abs(a - b)));
}
