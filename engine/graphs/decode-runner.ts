import { Tensor } from 'onnxruntime-node';
import { architectureNamed, linearKey } from '../models';
import type { Block, LayerAttention, ModelShape, Stage } from '../models/architecture';
import { attentionOf } from './attention-of';
import { DecoderGraph } from './decoder-graph';
import { type SessionOptions, sessionFor } from './session-pool';
import { stageBody } from './stage-bodies';
import {
  type Feeds,
  type FloatTensors,
  floatFeed,
  linearFeeds,
  parameterFeeds,
  positionIds,
  rotaryFeeds,
} from './stage-feeds';

export interface DecodeRunnerOptions extends SessionOptions {
  /** Name of the architecture in the registry, e.g. `llama`. */
  readonly architecture: string;
  readonly shape: ModelShape;
  /** Decoder layers in order, then the head. */
  readonly blocks: readonly Block[];
  /** All their tensors, by name. Kept in memory. */
  readonly weights: FloatTensors;
  /** Tokens that will be seen at most: prompt and continuation. */
  readonly maxTokens: number;
}

export interface DecodeRunner {
  /**
   * All layers on the next tokens of one sequence; keys and values of the tokens before are kept.
   *
   * @param hidden `[tokens, hiddenSize]`, embedded.
   * @returns `[tokens, hiddenSize]`, before the final norm.
   */
  advance(hidden: Float32Array): Promise<Float32Array>;
}

/**
 * One sequence with a key-value cache, one token or several at a time.
 *
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape.
 */
export async function createDecodeRunner(options: DecodeRunnerOptions): Promise<DecodeRunner> {
  const { architecture, shape, blocks, weights } = options;
  const { hiddenSize, keyValueHeads, headSize } = shape;
  const layers = blocks.slice(0, -1).map((_, index) => stagesOfLayer(blocks, index));
  const sessions = await Promise.all(
    layers.map((stages) =>
      sessionFor(decodeKey(architecture, shape, stages), options, () => decodeGraph(architecture, shape, stages)),
    ),
  );
  const constants: readonly Feeds[] = layers.map((stages, i) => {
    const linears = stages.flatMap(({ applies }) => applies);
    const norms = stages.map((stage, at) => parameterFeeds(stage, weights, shape, prefixOf(stages, at)));
    const feeds: Feeds = Object.assign(linearFeeds(linears, weights), ...norms);
    const wanted = new Set(sessions[i]?.inputNames);
    return Object.fromEntries(Object.entries(feeds).filter(([name]) => wanted.has(name)));
  });
  const attentions = layers.map((stages) => layerAttention(stages, shape));
  const rotary = attentions.map(({ rotary }) => rotaryFeeds(rotary, headSize, options.maxTokens));
  const empty = new Tensor('float32', new Float32Array(0), [1, keyValueHeads, 0, headSize]);
  const cache: { key: Tensor; value: Tensor }[] = layers.map(() => ({ key: empty, value: empty }));
  let seen = 0;

  return {
    async advance(hidden) {
      const tokens = hidden.length / hiddenSize;
      const ids = positionIds(1, seen, tokens);
      let current = floatFeed(hidden, [tokens, hiddenSize]);
      for (let i = 0; i < layers.length; i++) {
        const { key, value } = cache[i] as { key: Tensor; value: Tensor };
        const outputs = await sessions[i]?.run({
          ...constants[i],
          ...(attentions[i]?.rotary && { ...rotary[i], positionIds: ids }),
          hidden: current,
          past_key: key,
          past_value: value,
        });
        const { new_hidden, key: newKey, value: newValue } = outputs as Record<string, Tensor>;
        cache[i] = { key: newKey as Tensor, value: newValue as Tensor };
        current = new_hidden as Tensor;
      }
      seen += tokens;
      return current.data as Float32Array;
    },
  };
}

/** From behind a layer's first stage to behind that of the next block: what makes a hidden state of a hidden state. */
function stagesOfLayer(blocks: readonly Block[], index: number): readonly Stage[] {
  const next = blocks[index + 1]?.stages[0] as Stage;
  return [...(blocks[index] as Block).stages.slice(1), next];
}

/** Of a stage's parameters. The last stage is of the next block, whatever that is. */
function prefixOf(stages: readonly Stage[], at: number): string {
  return at === stages.length - 1 ? 'next.' : `${(stages[at] as Stage).name}.`;
}

function layerAttention(stages: readonly Stage[], shape: ModelShape): LayerAttention {
  return attentionOf(stages.find(({ attention }) => attention) ?? {}, shape);
}

function decodeKey(architecture: string, shape: ModelShape, stages: readonly Stage[]): string {
  const { heads, keyValueHeads, headSize, normEpsilon } = shape;
  const roles = stages.flatMap(({ applies }) =>
    applies.map((linear) => [linearKey(linear), linear.rows, linear.columns, linear.bias, linear.inputs]),
  );
  const scores = [shape.scoreScale, shape.scoreCap, layerAttention(stages, shape), shape.experts];
  return JSON.stringify(['decode', architecture, roles, heads, keyValueHeads, headSize, normEpsilon, scores]);
}

/** A whole decoder layer for one sequence: hidden `[tokens, hiddenSize]`, past and present `[1, keyValueHeads, positions, headSize]`. */
function decodeGraph(architecture: string, shape: ModelShape, stages: readonly Stage[]): Uint8Array {
  const { norm } = architectureNamed(architecture);
  const linears = stages.flatMap(({ applies }) => applies);
  const parameters = stages.flatMap((stage) => Object.keys(stage.parameters));
  const attention = layerAttention(stages, shape);
  const graph = new DecoderGraph('decode', { shape, norm, linears, parameters, attention });
  const { builder } = graph;
  let activations: Record<string, string> = {};
  for (const [at, stage] of stages.entries()) {
    const applies = new Set(stage.applies.map(linearKey));
    graph.enter({ prefix: prefixOf(stages, at), activations, applies });
    activations = { ...activations, ...stageBody(architecture, stage.name)(graph).changes };
  }
  builder.output('new_hidden', activations.hidden as string, ['tokens', shape.hiddenSize]);
  const present = [1, shape.keyValueHeads, 'positions_seen', shape.headSize];
  builder.output('key', graph.present?.key as string, present);
  builder.output('value', graph.present?.value as string, present);
  return builder.build();
}
