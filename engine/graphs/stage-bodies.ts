import { QuantloomError } from '../spec';
import type { DecoderOperators } from './decoder-operators';

/** What a stage computes. `captured`: `[tokens, columns]`, the common input of the linears that come next. */
export interface StageOutput<Value> {
  readonly captured: Value;
  /** The activations that are computed, by name. */
  readonly changes: Readonly<Record<string, Value>>;
}

type StageBody = <Value>(operators: DecoderOperators<Value>) => StageOutput<Value>;

/** hidden + linear(x): what the last linear of a residual branch adds; in the first layer nothing came before. */
function residual<Value>(operators: DecoderOperators<Value>, role: string, activation: string): Value {
  const hidden = operators.activation('hidden');
  if (!operators.applies(role)) return hidden;
  return operators.add(hidden, operators.linear(role, operators.activation(activation)));
}

const afterMlp: StageBody = (operators) => {
  const hidden = residual(operators, 'down_proj', 'product');
  return { captured: operators.norm(hidden), changes: { hidden } };
};

const LLAMA_STAGES: Readonly<Record<string, StageBody>> = {
  'attention-input': afterMlp,
  attention: (operators) => {
    const context = operators.selfAttention(operators.norm(operators.activation('hidden')));
    return { captured: context, changes: { context } };
  },
  'mlp-input': (operators) => {
    const hidden = residual(operators, 'o_proj', 'context');
    return { captured: operators.norm(hidden), changes: { hidden } };
  },
  mlp: (operators) => {
    const product = operators.gatedProduct(operators.norm(operators.activation('hidden')));
    return { captured: product, changes: { product } };
  },
  'head-input': afterMlp,
};

const BODIES: Readonly<Record<string, Readonly<Record<string, StageBody>>>> = { llama: LLAMA_STAGES };

/** @throws QuantloomError UnsupportedArchitecture when there is no such stage. */
export function stageBody(architecture: string, stage: string): StageBody {
  const body = BODIES[architecture]?.[stage];
  if (body) return body;
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `There is no graph for stage "${stage}" of architecture "${architecture}". Known: ${Object.entries(BODIES)
      .map(([name, stages]) => `${name} (${Object.keys(stages).join(', ')})`)
      .join('; ')}.`,
  );
}
