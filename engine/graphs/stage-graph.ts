import type { GramPrecision } from '../kernels';
import { architectureNamed, linearKey } from '../models';
import type { ModelShape, Stage } from '../models/architecture';
import { attentionOf } from './attention-of';
import { capturedFeatures } from './captured-rows';
import { activationFeatures, DecoderGraph } from './decoder-graph';
import { appendGram } from './gram';
import { stageBody } from './stage-bodies';

export interface StageGraphOptions {
  /** Name of the architecture in the registry. */
  readonly architecture: string;
  readonly stage: Stage;
  readonly shape: ModelShape;
  /** `blocks`: the blocks of XᵀX are outputs (see gram.ts). `captured`: X itself is, for kernels that multiply it. */
  readonly gram: GramOutput;
  /** What the factors of linears and of XᵀX are rounded to. */
  readonly precision: GramPrecision;
  /** Tokens per sequence. */
  readonly sequenceLength: number;
}

export type GramOutput = 'none' | 'blocks' | 'captured';

export interface StageModel {
  /** Serialized ModelProto. */
  readonly model: Uint8Array;
  /** Under which name the captured input leaves the graph (a changed activation, or `captured`); null when it does not. */
  readonly capturedOutput: string | null;
}

/**
 * The ONNX model of a stage, the same for all layers of equal shape.
 *
 * Inputs: the activations it reads, `<role>.weight` `[rows, columns]` and `<role>.bias` of the linears it applies, its parameters by
 * role; for `attention` with rotary positions also `cos`, `sin` `[positions, headSize / 2]` and `positionIds` `[batch, sequence]`.
 * Outputs: the activations it changes under `new_<name>`; `energy` `[tokens]`, the sum of squares of the captured input; the
 * blocks of XᵀX, or X as `captured` unless it is a changed activation, if asked for.
 *
 * @throws QuantloomError UnsupportedArchitecture when there is no such stage.
 */
export function stageGraph(options: StageGraphOptions): StageModel {
  const { architecture, stage, shape, gram, precision, sequenceLength } = options;
  const body = stageBody(architecture, stage.name);
  const { norm } = architectureNamed(architecture);
  const parameters = Object.keys(stage.parameters);
  const linears = stage.applies;
  const attention = attentionOf(stage, shape);
  const { allExperts } = stage;
  const given = { shape, norm, parameters, linears, precision, sequenceLength, attention, allExperts };
  const graph = new DecoderGraph(stage.name, given);
  const { captured, changes } = body(graph);
  for (const name of stage.changes) {
    graph.builder.output(newName(name), changes[name] as string, ['tokens', activationFeatures(name, shape)]);
  }
  const energy = graph.builder.node('ReduceSumSquare', [captured, graph.builder.integers([1])], { keepdims: 0n });
  graph.builder.output('energy', energy, ['tokens']);
  const columns = capturedFeatures(stage, shape);
  if (gram === 'blocks') appendGram(graph.builder, captured, columns, precision);
  const asChange = stage.changes.find((name) => changes[name] === captured);
  if (gram === 'captured' && !asChange) graph.builder.output('captured', captured, ['tokens', columns]);
  const capturedOutput = asChange ? newName(asChange) : gram === 'captured' ? 'captured' : null;
  return { model: graph.builder.build(), capturedOutput };
}

/** Equal keys have equal graphs. */
export function stageGraphKey(options: StageGraphOptions): string {
  const { architecture, stage, shape, gram, precision, sequenceLength } = options;
  return JSON.stringify([
    architecture,
    stage.name,
    stage.changes,
    stage.applies.map((linear) => [linearKey(linear), linear.rows, linear.columns, linear.bias, linear.inputs]),
    stage.captures[0]?.columns,
    shape.hiddenSize,
    shape.heads,
    shape.keyValueHeads,
    shape.headSize,
    shape.intermediateSize,
    shape.normEpsilon,
    gram,
    precision,
    stage.name === 'attention' ? [sequenceLength, attentionOf(stage, shape)] : null,
    shape.scoreScale,
    shape.scoreCap,
    Object.keys(stage.parameters),
    shape.experts && [shape.experts, stage.allExperts],
  ]);
}

/** Output name of a changed activation: graph values need unique names. */
export function newName(activation: string): string {
  return `new_${activation}`;
}
