import type { GramPrecision } from '../kernels';
import type { ModelShape, Stage } from '../models/architecture';
import { QuantloomError } from '../spec';
import { activationFeatures, DecoderGraph, type LinearForm, linearRole } from './decoder-graph';
import { appendGram } from './gram';

export interface StageGraphOptions {
  /** Name of the architecture in the registry. */
  readonly architecture: string;
  readonly stage: Stage;
  readonly shape: ModelShape;
  readonly linears: LinearForm;
  /** `blocks`: the blocks of XᵀX are outputs (see gram.ts). `captured`: X itself is, for kernels that multiply it. */
  readonly gram: GramOutput;
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
  /** For linears of the form `given`: what they are applied to. null for others, and where there is no linear. */
  readonly linearInput: LinearInput | null;
}

/** An activation, or what the graph `model` makes of activations: its output `input`. */
export type LinearInput =
  | { readonly activation: string; readonly model: null }
  | { readonly activation: null; readonly model: Uint8Array };

/** `captured`: `[tokens, columns]`, the common input of the linears that come next. `changes`: the activations that are computed. */
type StageBody = (
  graph: DecoderGraph,
  sequenceLength: number,
) => { readonly captured: string; readonly changes: Readonly<Record<string, string>> };

/** hidden + linear(x): what the last linear of a residual branch adds; in the first layer nothing came before. */
function residual(graph: DecoderGraph, role: string, activation: string): string {
  const hidden = graph.activation('hidden');
  return graph.applies(role) ? graph.add(hidden, graph.linear(role, graph.activation(activation))) : hidden;
}

const afterMlp: StageBody = (graph) => {
  const hidden = residual(graph, 'down_proj', 'product');
  return { captured: graph.norm(hidden), changes: { hidden } };
};

const LLAMA_STAGES: Readonly<Record<string, StageBody>> = {
  'attention-input': afterMlp,
  attention: (graph, sequenceLength) => {
    const { query, key, value } = graph.queryKeyValue(graph.norm(graph.activation('hidden')), sequenceLength);
    const context = graph.causalAttention(query, key, value, sequenceLength);
    return { captured: context, changes: { context } };
  },
  'mlp-input': (graph) => {
    const hidden = residual(graph, 'o_proj', 'context');
    return { captured: graph.norm(hidden), changes: { hidden } };
  },
  mlp: (graph) => {
    const product = graph.gatedProduct(graph.norm(graph.activation('hidden')));
    return { captured: product, changes: { product } };
  },
  'head-input': afterMlp,
};

const BODIES: Readonly<Record<string, Readonly<Record<string, StageBody>>>> = { llama: LLAMA_STAGES };

/**
 * The ONNX model of a stage, the same for all layers of equal shape.
 *
 * Inputs: the activations it reads, `<role>.weight` `[rows, columns]` and `<role>.bias` of the linears it applies, its parameters by
 * role; for `attention` also `cos`, `sin` `[positions, headSize / 2]` and `positionIds` `[batch, sequence]`.
 * Outputs: the activations it changes under `new_<name>`; `energy` `[tokens]`, the sum of squares of the captured input; the
 * blocks of XᵀX, or X as `captured` unless it is a changed activation, if asked for.
 *
 * @throws QuantloomError UnsupportedArchitecture when there is no such stage.
 */
export function stageGraph(options: StageGraphOptions): StageModel {
  const { architecture, stage, shape, linears, gram, precision, sequenceLength } = options;
  const body = BODIES[architecture]?.[stage.name];
  if (body === undefined) {
    throw new QuantloomError(
      'UnsupportedArchitecture',
      `There is no graph for stage "${stage.name}" of architecture "${architecture}". Known: ${Object.entries(BODIES)
        .map(([name, stages]) => `${name} (${Object.keys(stages).join(', ')})`)
        .join('; ')}.`,
    );
  }
  const open = () => new DecoderGraph(stage.name, shape, stage.applies, linears);
  const graph = open();
  const { captured, changes } = body(graph, sequenceLength);
  for (const name of stage.changes) {
    graph.builder.output(newName(name), changes[name] as string, ['tokens', activationFeatures(name, shape)]);
  }
  const energy = graph.builder.node('ReduceSumSquare', [captured, graph.builder.integers([1])], { keepdims: 0n });
  graph.builder.output('energy', energy, ['tokens']);
  const columns = stage.captures[0]?.columns as number;
  if (gram === 'blocks') appendGram(graph.builder, captured, columns, precision);
  const asChange = stage.changes.find((name) => changes[name] === captured);
  if (gram === 'captured' && !asChange) graph.builder.output('captured', captured, ['tokens', columns]);
  const capturedOutput = asChange ? newName(asChange) : gram === 'captured' ? 'captured' : null;
  return { model: graph.builder.build(), capturedOutput, linearInput: linearInputOf(options, body, open()) };
}

/** The first part of a stage whose linears are computed elsewhere. */
function linearInputOf(
  { stage, sequenceLength }: StageGraphOptions,
  body: StageBody,
  graph: DecoderGraph,
): LinearInput | null {
  body(graph, sequenceLength);
  const input = graph.linearInput;
  if (input === null) return null;
  if (stage.reads.includes(input)) return { activation: input, model: null };
  graph.builder.output('input', input, ['tokens', stage.applies[0]?.columns as number]);
  return { activation: null, model: graph.builder.build() };
}

/** Equal keys have equal graphs. */
export function stageGraphKey({
  architecture,
  stage,
  shape,
  linears,
  gram,
  precision,
  sequenceLength,
}: StageGraphOptions): string {
  return JSON.stringify([
    architecture,
    stage.name,
    stage.changes,
    stage.applies.map(({ name, rows, columns, bias }) => [linearRole(name), rows, columns, bias]),
    stage.captures[0]?.columns,
    shape.hiddenSize,
    shape.heads,
    shape.keyValueHeads,
    shape.headSize,
    shape.intermediateSize,
    shape.normEpsilon,
    linears,
    gram,
    gram === 'blocks' ? precision : null,
    stage.name === 'attention' ? sequenceLength : null,
  ]);
}

/** Output name of a changed activation: graph values need unique names. */
export function newName(activation: string): string {
  return `new_${activation}`;
}
