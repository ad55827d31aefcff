import { architectureNamed, type StageOperator } from '../models';
import { QuantloomError } from '../spec';
import type { DecoderOperators } from './decoder-operators';

/** What a stage computes. `captured`: `[tokens, columns]`, the common input of the linears that come next. */
export interface StageOutput<Value> {
  readonly captured: Value;
  /** The activations that are computed, by name. */
  readonly changes: Readonly<Record<string, Value>>;
}

type StageBody = <Value>(operators: DecoderOperators<Value>) => StageOutput<Value>;

/** The last linear of a residual branch, and the activation that is its input. */
const BRANCH_ENDS = [
  ['o', 'context'],
  ['down', 'product'],
] as const;

/** hidden + linear(x), or a norm of it: what the last linear of a residual branch adds; in the first layer nothing came before. */
function residual<Value>(operators: DecoderOperators<Value>): Value {
  const hidden = operators.activation('hidden');
  if (operators.applies('down', 0)) {
    const products = operators.activation('expert-products');
    return operators.add(hidden, operators.branchNorm(operators.expertSum(products, operators.activation('routing'))));
  }
  const end = BRANCH_ENDS.find(([role]) => operators.applies(role));
  if (!end) return hidden;
  const [role, activation] = end;
  return operators.add(hidden, operators.branchNorm(operators.linear(role, operators.activation(activation))));
}

function gated<Value>(operators: DecoderOperators<Value>, activation: 'silu' | 'gelu-tanh'): StageOutput<Value> {
  const product = operators.gatedProduct(operators.norm(operators.activation('hidden')), activation);
  return { captured: product, changes: { product } };
}

function activated<Value>(operators: DecoderOperators<Value>, activation: (x: Value) => Value): StageOutput<Value> {
  const product = activation(operators.linear('up', operators.norm(operators.activation('hidden'))));
  return { captured: product, changes: { product } };
}

/** What architectures share; a table of the registry says which of them its stages are. */
const BODIES: Readonly<Record<StageOperator, StageBody>> = {
  'add-norm': (operators) => {
    const hidden = residual(operators);
    return { captured: operators.norm(hidden), changes: { hidden } };
  },
  'add-norm-route': (operators) => {
    const hidden = residual(operators);
    const captured = operators.norm(hidden);
    return { captured, changes: { hidden, routing: operators.route(captured) } };
  },
  experts: (operators) => {
    const x = operators.norm(operators.activation('hidden'));
    const { captured, products } = operators.expertProducts(x, operators.activation('routing'));
    return { captured, changes: { 'expert-products': products } };
  },
  attention: (operators) => {
    const context = operators.selfAttention(operators.norm(operators.activation('hidden')));
    return { captured: context, changes: { context } };
  },
  'gated-silu': (operators) => gated(operators, 'silu'),
  'gated-gelu-tanh': (operators) => gated(operators, 'gelu-tanh'),
  'gelu-tanh': (operators) => activated(operators, (x) => operators.gelu(x)),
  relu: (operators) => activated(operators, (x) => operators.relu(x)),
};

/** @throws QuantloomError UnsupportedArchitecture when there is no such stage. */
export function stageBody(architecture: string, stage: string): StageBody {
  const { operators } = architectureNamed(architecture);
  const operator = operators[stage];
  if (operator) return BODIES[operator];
  throw new QuantloomError(
    'UnsupportedArchitecture',
    `There is no graph for stage "${stage}" of architecture "${architecture}". Known: ${architecture} (${Object.keys(operators).join(', ')}).`,
  );
}
