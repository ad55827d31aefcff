import { Tensor } from 'onnxruntime-node';
import type { LinearShape, ModelShape } from '../models/architecture';
import type { FloatTensor } from '../spec';
import { DecoderGraph } from './decoder-graph';
import { invariantThreads } from './invariant-threads';
import { type SessionOptions, sessionFor } from './session-pool';
import { type Feeds, floatFeed, linearFeeds, weightFeed } from './stage-feeds';

export interface HeadRunnerOptions extends SessionOptions {
  readonly shape: ModelShape;
  /** Final norm `[hiddenSize]`. */
  readonly norm: FloatTensor;
  /** The head, or the embedding when they are tied: `[vocabulary, hiddenSize]`. */
  readonly weight: FloatTensor;
  /** `[vocabulary]`. */
  readonly bias?: FloatTensor;
  /** Bound on the logits that are held at once. Default 128 MiB. */
  readonly logitsBytes?: number;
}

/** Final norm and head on hidden states `[tokens, hiddenSize]` (what the last layer left, not yet normed). */
export interface HeadRunner {
  /** @returns `[tokens, vocabulary]`, all at once. */
  logits(hidden: Float32Array): Promise<Float32Array>;
  /** -log p(target) in nats for each token, `[tokens]`; between batches of tokens `signal` is looked at. */
  negativeLogLikelihoods(hidden: Float32Array, targets: Int32Array, signal?: AbortSignal): Promise<Float32Array>;
}

const DEFAULT_LOGITS_BYTES = 128 * 2 ** 20;
const FLOAT_BYTES = 4;

export function createHeadRunner(options: HeadRunnerOptions): HeadRunner {
  const { hiddenSize, vocabularySize, normEpsilon } = options.shape;
  const head: LinearShape = {
    name: 'lm_head',
    rows: vocabularySize,
    columns: hiddenSize,
    bias: options.bias !== undefined,
  };
  const tensors = new Map([
    ['lm_head.weight', options.weight],
    ['norm', options.norm],
  ] as const);
  const weights = new Map<string, FloatTensor>([
    ...tensors,
    ...(options.bias ? [['lm_head.bias', options.bias] as const] : []),
  ]);
  const constants: Feeds = { ...linearFeeds([head], weights), norm: weightFeed(weights, 'norm', [hiddenSize]) };
  const keyOf = (kind: string) => JSON.stringify([kind, hiddenSize, vocabularySize, normEpsilon, head.bias]);

  async function logits(hidden: Float32Array): Promise<Float32Array> {
    const session = await sessionFor(keyOf('logits'), options, () => logitsGraph(options.shape, head));
    const tokens = hidden.length / hiddenSize;
    const data = new Float32Array(tokens * vocabularySize);
    await session.run(
      { ...constants, hidden: floatFeed(hidden, [tokens, hiddenSize]) },
      { logits: floatFeed(data, [tokens, vocabularySize]) },
    );
    return data;
  }

  async function negativeLogLikelihoods(
    hidden: Float32Array,
    targets: Int32Array,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const losses = new Float32Array(targets.length);
    // Logits, and their logarithms of probabilities.
    const bytesPerToken = 2 * vocabularySize * FLOAT_BYTES;
    const perBatch = Math.max(1, Math.floor((options.logitsBytes ?? DEFAULT_LOGITS_BYTES) / bytesPerToken));
    for (let first = 0; first < targets.length; first += perBatch) {
      signal?.throwIfAborted();
      const end = Math.min(targets.length, first + perBatch);
      const threads = invariantThreads(options.threads, end - first, [head]);
      const session = await sessionFor(keyOf('loss'), { ...options, threads }, () => lossGraph(options.shape, head));
      const rows = hidden.subarray(first * hiddenSize, end * hiddenSize);
      const ids = BigInt64Array.from(targets.subarray(first, end), BigInt);
      await session.run(
        {
          ...constants,
          hidden: floatFeed(rows, [end - first, hiddenSize]),
          targets: new Tensor('int64', ids, [end - first, 1]),
        },
        { losses: floatFeed(losses.subarray(first, end), [end - first, 1]) },
      );
    }
    return losses;
  }

  return { logits, negativeLogLikelihoods };
}

function logitsGraph(shape: ModelShape, head: LinearShape): Uint8Array {
  const graph = new DecoderGraph('logits', shape, [head]);
  const logits = graph.linear('lm_head', graph.norm(graph.activation('hidden')));
  graph.builder.output('logits', logits, ['tokens', shape.vocabularySize]);
  return graph.builder.build();
}

/** LogSoftmax rather than ReduceLogSumExp: that one adds 50,000 exponentials one by one in float32 and is off by 1e-4. */
function lossGraph(shape: ModelShape, head: LinearShape): Uint8Array {
  const graph = new DecoderGraph('loss', shape, [head]);
  const { builder } = graph;
  const logits = graph.linear('lm_head', graph.norm(graph.activation('hidden')));
  const logProbabilities = builder.node('LogSoftmax', [logits], { axis: -1n });
  const targets = builder.input('targets', ['tokens', 1], 'int64');
  const chosen = builder.node('GatherElements', [logProbabilities, targets], { axis: 1n });
  builder.output('losses', builder.node('Neg', [chosen]), ['tokens', 1]);
  return builder.build();
}
