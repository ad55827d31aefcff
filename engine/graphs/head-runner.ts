import type { LinearShape, ModelShape } from '../models/architecture';
import type { FloatTensor } from '../spec';
import { DecoderGraph } from './decoder-graph';
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
}

/** Final norm and head on hidden states `[tokens, hiddenSize]` (what the last layer left, not yet normed). */
export interface HeadRunner {
  /** @returns `[tokens, vocabulary]`, all at once. */
  logits(hidden: Float32Array): Promise<Float32Array>;
}

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
  const key = JSON.stringify(['logits', hiddenSize, vocabularySize, normEpsilon, head.bias]);

  async function logits(hidden: Float32Array): Promise<Float32Array> {
    const session = await sessionFor(key, options, () => logitsGraph(options.shape, head));
    const tokens = hidden.length / hiddenSize;
    const data = new Float32Array(tokens * vocabularySize);
    await session.run(
      { ...constants, hidden: floatFeed(hidden, [tokens, hiddenSize]) },
      { logits: floatFeed(data, [tokens, vocabularySize]) },
    );
    return data;
  }

  return { logits };
}

function logitsGraph(shape: ModelShape, head: LinearShape): Uint8Array {
  const graph = new DecoderGraph('logits', { shape, linears: [head] });
  const logits = graph.linear('lm_head', graph.norm(graph.activation('hidden')));
  graph.builder.output('logits', logits, ['tokens', shape.vocabularySize]);
  return graph.builder.build();
}
