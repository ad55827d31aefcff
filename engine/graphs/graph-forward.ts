import { attentionOf } from './attention-of';
import { capturedFeatures } from './captured-rows';
import { activationFeatures } from './decoder-graph';
import type { GramSum } from './gram';
import { invariantThreads } from './invariant-threads';
import { ScratchFloats } from './scratch-floats';
import { sessionFor } from './session-pool';
import { type Feeds, floatFeed, linearFeeds, parameterFeeds, positionIds, rotaryFeeds, rowsOf } from './stage-feeds';
import type { ForwardBatch, StageForward } from './stage-forward';
import { newName, type StageGraphOptions, type StageModel, stageGraph, stageGraphKey } from './stage-graph';
import type { StageStreamOptions } from './stage-stream';
import { activationFloats, type StoredActivation, storeActivation } from './stored-activation';
import { isShared, unsharedFloats } from './unshared-floats';

const scratch = new ScratchFloats();

/**
 * A stage as one ONNX graph. XᵀX is part of it, and adds to `sum`, unless others multiply what it captures.
 *
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape.
 */
export function graphForward(options: StageStreamOptions, sum: GramSum | null, capturing: boolean): StageForward {
  const { stage, shape, sequenceLength } = options;
  const graph: StageGraphOptions = {
    ...options,
    precision: options.precision ?? 'float32',
    gram: capturing ? 'captured' : options.gram ? 'blocks' : 'none',
  };
  const key = stageGraphKey(graph);
  const { model, capturedOutput } = stageModel(key, graph);
  const constants = { ...constantFeeds(options), ...linearFeeds(stage.applies, options.weights) };
  const columns = capturedFeatures(stage, shape);

  const compute = async (batch: ForwardBatch, chosen: readonly number[], fetches: Feeds): Promise<void> => {
    const tokens = chosen.length * sequenceLength;
    const feeds: Feeds = { ...constants };
    for (const name of stage.reads) {
      const stored = batch.inputs[name] as StoredActivation;
      const floats = unsharedFloats(name, activationFloats(name, stored, scratch), scratch);
      const rows = rowsOf(floats, chosen, floats.length / batch.sequences);
      feeds[name] = floatFeed(rows, [tokens, rows.length / tokens]);
    }
    if (turnsPositions(options)) feeds.positionIds = positionIds(chosen.length, 0, sequenceLength);
    // An expert may get a single token.
    const rows = stage.applies.some(({ expert }) => expert !== undefined) ? 1 : tokens;
    const threads = invariantThreads(batch.threads, rows, stage.applies);
    const session = await sessionFor(key, { ...options, threads }, () => model);
    await session.run(feeds, fetches);
  };

  return {
    async run(batch, chosen) {
      if (chosen) {
        await compute(batch, chosen, sum?.fetches() ?? {});
        return { energy: new Float32Array(0), captured: null };
      }
      const tokens = batch.sequences * sequenceLength;
      const energy = new Float32Array(tokens);
      const fetches: Feeds = { energy: floatFeed(energy, [tokens]), ...sum?.fetches() };
      const outputs = Object.entries(batch.outputs).map(([name, stored]) => {
        const floats = outputFloats(name, stored);
        fetches[newName(name)] = floatFeed(floats, [tokens, activationFeatures(name, shape)]);
        return { name: newName(name), stored, floats };
      });
      if (capturedOutput === 'captured') {
        fetches.captured = floatFeed(scratch.of('captured', tokens * columns), [tokens, columns]);
      }
      const all = Array.from({ length: batch.sequences }, (_, i) => i);
      await compute(batch, all, fetches);
      for (const { stored, floats } of outputs) if (floats !== stored) storeActivation(floats, stored);
      const captured = capturing && capturedOutput ? fetches[capturedOutput] : null;
      return { energy, captured: (captured?.data as Float32Array | undefined) ?? null };
    },
  };
}

function outputFloats(name: string, stored: StoredActivation): Float32Array {
  if (stored instanceof Float32Array && !isShared(stored)) return stored;
  return scratch.of(`${name} out`, stored.length);
}

function constantFeeds(options: StageStreamOptions): Feeds {
  const { stage, weights, shape, sequenceLength } = options;
  const feeds = parameterFeeds(stage, weights, shape);
  return turnsPositions(options)
    ? { ...feeds, ...rotaryFeeds(attentionOf(stage, shape).rotary, shape.headSize, sequenceLength) }
    : feeds;
}

function turnsPositions({ stage, shape }: StageStreamOptions): boolean {
  return stage.name === 'attention' && attentionOf(stage, shape).rotary !== null;
}

/** Graphs of this process, by key. */
const models = new Map<string, StageModel>();

function stageModel(key: string, options: StageGraphOptions): StageModel {
  const model = models.get(key) ?? stageGraph(options);
  models.set(key, model);
  return model;
}
