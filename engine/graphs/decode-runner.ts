import { Tensor } from 'onnxruntime-node';
import type { Block, LinearShape, ModelShape } from '../models/architecture';
import { DecoderGraph, linearRole } from './decoder-graph';
import { type SessionOptions, sessionFor } from './session-pool';
import {
  type Feeds,
  type FloatTensors,
  floatFeed,
  linearFeeds,
  positionIds,
  rotaryFeeds,
  weightFeed,
} from './stage-feeds';

export interface DecodeRunnerOptions extends SessionOptions {
  readonly shape: ModelShape;
  /** Decoder layers in order. */
  readonly layers: readonly Block[];
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
  const { shape, layers, weights } = options;
  const { hiddenSize, keyValueHeads, headSize } = shape;
  const linearsOf = (layer: Block) => layer.stages.flatMap(({ captures }) => captures);
  const constants: readonly Feeds[] = layers.map((layer) => ({
    ...linearFeeds(linearsOf(layer), weights),
    ...normFeeds(layer, weights, hiddenSize),
  }));
  const sessions = await Promise.all(
    layers.map((layer) =>
      sessionFor(decodeKey(shape, linearsOf(layer)), options, () => decodeGraph(shape, linearsOf(layer))),
    ),
  );
  const rotary = rotaryFeeds(shape, options.maxTokens);
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
          ...rotary,
          positionIds: ids,
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

function normFeeds(layer: Block, weights: FloatTensors, hiddenSize: number): Feeds {
  const named = (stage: string) => layer.stages.find(({ name }) => name === stage)?.parameters.norm as string;
  return {
    norm: weightFeed(weights, named('attention'), [hiddenSize]),
    postNorm: weightFeed(weights, named('mlp'), [hiddenSize]),
  };
}

function decodeKey(shape: ModelShape, linears: readonly LinearShape[]): string {
  const { heads, keyValueHeads, headSize, normEpsilon } = shape;
  const roles = linears.map(({ name, rows, columns, bias }) => [linearRole(name), rows, columns, bias]);
  return JSON.stringify(['decode', roles, heads, keyValueHeads, headSize, normEpsilon]);
}

/** A whole decoder layer for one sequence: hidden `[tokens, hiddenSize]`, past and present `[1, keyValueHeads, positions, headSize]`. */
function decodeGraph(shape: ModelShape, linears: readonly LinearShape[]): Uint8Array {
  const graph = new DecoderGraph('decode', { shape, linears });
  const { builder } = graph;
  const past = (name: string) => builder.input(name, [1, shape.keyValueHeads, 'past', shape.headSize]);
  const hidden = graph.activation('hidden');
  const { query, key, value } = graph.queryKeyValue(graph.norm(hidden));
  const attended = graph.attention([query, key, value, '', past('past_key'), past('past_value')]);
  const middle = graph.add(hidden, graph.linear('o_proj', graph.mergeHeads(attended.context)));
  const product = graph.gatedProduct(graph.norm(middle, 'postNorm'));
  builder.output('new_hidden', graph.add(middle, graph.linear('down_proj', product)), ['tokens', shape.hiddenSize]);
  const present = [1, shape.keyValueHeads, 'positions_seen', shape.headSize];
  builder.output('key', attended.key, present);
  builder.output('value', attended.value, present);
  return builder.build();
}
