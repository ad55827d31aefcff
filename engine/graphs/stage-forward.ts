import { type GramPrecision, type NativeAddon, selectProductKernels } from '../kernels';
import { linearRole } from './decoder-graph';
import { invariantThreads } from './invariant-threads';
import { packedWeight } from './packed-weights';
import { ScratchFloats } from './scratch-floats';
import { sessionFor } from './session-pool';
import { type Feeds, floatFeed, linearFeeds, positionIds, rotaryFeeds, weightFeed } from './stage-feeds';
import { type LinearInput, type StageGraphOptions, type StageModel, stageGraph, stageGraphKey } from './stage-graph';
import type { StageStreamOptions } from './stage-stream';

/** The forward pass of a stage on one batch after another. */
export interface StageForward {
  /** Under which name the captured input leaves the graph; null when it does not. */
  readonly capturedOutput: string | null;
  /** True when XᵀX is made of what leaves the graph; false when the graph multiplies it. */
  readonly capturesInput: boolean;
  run(batch: ForwardBatch): Promise<void>;
}

export interface ForwardBatch {
  /** `[tokens, features]`, by name. */
  readonly activations: Feeds;
  readonly tokens: number;
  /** Where outputs go. */
  readonly fetches: Feeds;
  /** Threads of an operator. */
  readonly threads: number;
}

/**
 * All in one graph, or, with bfloat16 factors and native kernels, linears outside of it: onnxruntime has no bfloat16 products for CPUs,
 * and some processors multiply them twice as fast as float32, or ten times.
 *
 * @throws QuantloomError InvalidModel when a weight is missing or has another shape.
 */
export function stageForward(options: StageStreamOptions): StageForward {
  const native = selectProductKernels(options.kernels);
  const precision = options.precision ?? 'float32';
  if (native && precision === 'bfloat16') return splitForward(options, native, precision);
  const gram = options.gram ? (native ? 'captured' : 'blocks') : 'none';
  return wholeForward(options, { ...options, precision, linears: precision, gram });
}

function wholeForward(options: StageStreamOptions, graph: StageGraphOptions): StageForward {
  const { stage, weights } = options;
  const key = stageGraphKey(graph);
  const { model, capturedOutput } = stageModel(key, graph);
  const constants = { ...constantFeeds(options), ...linearFeeds(stage.applies, weights) };
  return {
    capturedOutput,
    capturesInput: graph.gram === 'captured',
    async run({ activations, tokens, fetches, threads: most }) {
      const threads = invariantThreads(most, tokens, stage.applies);
      const session = await sessionFor(key, { ...options, threads }, () => model);
      const feeds = { ...constants, ...activations, ...positionFeeds(options, tokens) };
      await session.run(chosen(feeds, session.inputNames), fetches);
    },
  };
}

const scratch = new ScratchFloats();

function splitForward(options: StageStreamOptions, native: NativeAddon, precision: GramPrecision): StageForward {
  const { stage, weights } = options;
  const gram = options.gram ? 'captured' : 'none';
  const graph: StageGraphOptions = { ...options, precision, linears: 'given', gram };
  const key = stageGraphKey(graph);
  const { model, capturedOutput, linearInput } = stageModel(key, graph);
  const constants = constantFeeds(options);
  const checked = linearFeeds(stage.applies, weights);
  const linears = stage.applies.map(({ name, rows, columns, bias }) => ({
    role: linearRole(name),
    rows,
    columns,
    packed: packedWeight(native, weights.get(`${name}.weight`)?.data as Float32Array, rows, columns),
    bias: bias ? (checked[`${linearRole(name)}.bias`]?.data as Float32Array) : null,
  }));
  const columns = stage.applies[0]?.columns as number;

  const inputOf = async (
    { activation, model }: LinearInput,
    feeds: Feeds,
    { tokens, threads }: ForwardBatch,
  ): Promise<Float32Array> => {
    if (activation !== null) return feeds[activation]?.data as Float32Array;
    const session = await sessionFor(`${key} input`, { ...options, threads }, () => model);
    const input = scratch.of('input', tokens * columns);
    await session.run(chosen(feeds, session.inputNames), { input: floatFeed(input, [tokens, columns]) });
    return input;
  };

  return {
    capturedOutput,
    capturesInput: gram === 'captured',
    async run(batch) {
      const { activations, tokens, fetches, threads } = batch;
      const feeds: Feeds = { ...constants, ...activations, ...positionFeeds(options, tokens) };
      if (linearInput) {
        const x = await inputOf(linearInput, feeds, batch);
        const outputs = linears.map((linear) => ({ ...linear, y: scratch.of(linear.role, tokens * linear.rows) }));
        native.multiplyLinears(x, columns, outputs, threads);
        for (const { role, rows, y } of outputs) feeds[`${role}.output`] = floatFeed(y, [tokens, rows]);
      }
      const session = await sessionFor(key, { ...options, threads }, () => model);
      await session.run(chosen(feeds, session.inputNames), fetches);
    },
  };
}

function constantFeeds({ stage, weights, shape, sequenceLength }: StageStreamOptions): Feeds {
  const feeds: Feeds = {};
  for (const [role, name] of Object.entries(stage.parameters)) {
    feeds[role] = weightFeed(weights, name, [shape.hiddenSize]);
  }
  return stage.name === 'attention' ? { ...feeds, ...rotaryFeeds(shape, sequenceLength) } : feeds;
}

function positionFeeds({ stage, sequenceLength }: StageStreamOptions, tokens: number): Feeds {
  return stage.name === 'attention' ? { positionIds: positionIds(tokens / sequenceLength, 0, sequenceLength) } : {};
}

/** A session refuses feeds that it has no input for. */
function chosen(feeds: Feeds, names: readonly string[]): Feeds {
  return Object.fromEntries(names.flatMap((name) => (feeds[name] ? [[name, feeds[name]]] : [])));
}

/** Graphs of this process, by key. */
const models = new Map<string, StageModel>();

function stageModel(key: string, options: StageGraphOptions): StageModel {
  const model = models.get(key) ?? stageGraph(options);
  models.set(key, model);
  return model;
}
