import { architectureNamed } from '../models';
import type { LinearShape, ModelShape, NormKind } from '../models/architecture';
import type { FloatTensor } from '../spec';
import { DecoderGraph } from './decoder-graph';
import { type SessionOptions, sessionFor } from './session-pool';
import { type Feeds, floatFeed, linearFeeds, parameterFeed, weightFeed } from './stage-feeds';
import { softCapped } from './windowed-attention';

export interface HeadRunnerOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  /** Final norm `[hiddenSize]`. */
  readonly norm: FloatTensor;
  /** `[hiddenSize]`, where the norm has one. */
  readonly normBias?: FloatTensor;
  /** The head, or the embedding when they are tied: `[vocabulary, hiddenSize]`. */
  readonly weight: FloatTensor;
  /** `[vocabulary]`. */
  readonly bias?: FloatTensor;
}

/** Final norm, head and the cap of logits on hidden states `[tokens, hiddenSize]` (what the last layer left, not yet normed). */
export interface HeadRunner {
  /** @returns `[tokens, vocabulary]`, all at once. */
  logits(hidden: Float32Array): Promise<Float32Array>;
}

export function createHeadRunner(options: HeadRunnerOptions): HeadRunner {
  const { hiddenSize, vocabularySize, normEpsilon } = options.shape;
  const { norm } = architectureNamed(options.architecture);
  const head: LinearShape = {
    name: 'lm_head',
    role: 'head',
    rows: vocabularySize,
    columns: hiddenSize,
    bias: options.bias !== undefined,
  };
  const weights = new Map<string, FloatTensor>([
    ['lm_head.weight', options.weight],
    ...(options.bias ? [['lm_head.bias', options.bias] as const] : []),
  ]);
  const constants: Feeds = { ...linearFeeds([head], weights), ...finalNormFeeds(options) };
  const key = JSON.stringify([
    'logits',
    norm,
    hiddenSize,
    vocabularySize,
    normEpsilon,
    head.bias,
    options.shape.logitCap,
  ]);

  async function logits(hidden: Float32Array): Promise<Float32Array> {
    const session = await sessionFor(key, options, () => logitsGraph(options.shape, norm, head));
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

/**
 * The final norm's parameters by role.
 *
 * @throws QuantloomError InvalidModel when one has another shape.
 */
export function finalNormFeeds({
  shape,
  norm,
  normBias,
}: Pick<HeadRunnerOptions, 'shape' | 'norm' | 'normBias'>): Feeds {
  const tensors = new Map([['norm', norm], ...(normBias ? [['norm.bias', normBias] as const] : [])]);
  return Object.fromEntries(
    [...tensors.keys()].map((role) => [
      role,
      parameterFeed(role, weightFeed(tensors, role, [shape.hiddenSize]), shape),
    ]),
  );
}

function logitsGraph(shape: ModelShape, norm: NormKind, head: LinearShape): Uint8Array {
  const graph = new DecoderGraph('logits', { shape, norm, linears: [head] });
  const logits = graph.linear('head', graph.norm(graph.activation('hidden')));
  const capped = softCapped(graph.builder, logits, shape.logitCap ?? null);
  graph.builder.output('logits', capped, ['tokens', shape.vocabularySize]);
  return graph.builder.build();
}
