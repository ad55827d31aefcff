import type { Architecture, Block, LinearShape, ModelShape, Stage, StageOperator } from '../models/architecture';

/** Linears that share an input whose channels are scaled, and what the scales are folded into. */
export interface ScalingGroup {
  /** Name of the stage that captures the input. */
  readonly stage: string;
  readonly linears: readonly LinearShape[];
  /**
   * The tensors of the norm before, its gain first, which is stored less `gainOffset`; or the linear before, whose rows from `firstRow` on are
   * the channels.
   */
  readonly before:
    | { readonly norm: readonly [string, ...string[]]; readonly gainOffset: number }
    | { readonly linear: LinearShape; readonly firstRow: number };
  /**
   * Channels that share a scale: scale `outer * size + inner` is that of the channels `(outer * repeats + repeat) * size + inner`. Attention
   * with grouped heads hands each value to several channels.
   */
  readonly size: number;
  readonly repeats: number;
}

/** Operators whose product grows with the rows of `up`. Most nonlinear functions of them would not. */
const PRODUCTS: readonly StageOperator[] = ['gated-silu', 'gated-gelu-tanh', 'relu'];

/**
 * Where a block's input channels can be scaled without another tensor or another function: behind a norm, from v to o, from up to down. In the
 * order of its stages. Weights that the source holds transposed are left out.
 */
export function scalingGroups({ operators }: Architecture, shape: ModelShape, { stages }: Block): ScalingGroup[] {
  return stages.flatMap((stage, position): ScalingGroup[] => {
    const linears = stage.captures;
    const columns = linears[0]?.columns ?? 0;
    const group = { stage: stage.name, linears, size: columns, repeats: 1 };
    // Experts: what scales the hidden state would scale the router's input too.
    if (linears.some(({ transposed, role, expert }) => transposed || role === 'head' || expert !== undefined))
      return [];
    switch (operators[stage.name]) {
      case 'add-norm': {
        const { norm, 'norm.bias': bias } = stage.parameters;
        const { gainOffset = 0 } = shape;
        return norm === undefined ? [] : [{ ...group, before: { norm: bias ? [norm, bias] : [norm], gainOffset } }];
      }
      case 'attention': {
        const value = rowsOfValue(stages[position - 1], shape);
        const { headSize: size, heads, keyValueHeads } = shape;
        return value ? [{ ...group, before: value, size, repeats: heads / keyValueHeads }] : [];
      }
      default: {
        const product = PRODUCTS.includes(operators[stage.name] as StageOperator);
        const up = stage.applies.find(({ role }) => role === 'up');
        return product && up ? [{ ...group, before: { linear: up, firstRow: 0 } }] : [];
      }
    }
  });
}

/** v, or its rows in q, k and v together. */
function rowsOfValue(stage: Stage | undefined, { heads, keyValueHeads, headSize }: ModelShape) {
  for (const linear of stage?.captures ?? []) {
    if (linear.role === 'v') return { linear, firstRow: 0 };
    if (linear.role === 'qkv') return { linear, firstRow: (heads + keyValueHeads) * headSize };
  }
  return null;
}

/** Of one number per channel, one per scale: the mean over the channels that share it. */
export function perScale(
  values: Float64Array,
  { size, repeats }: Pick<ScalingGroup, 'size' | 'repeats'>,
): Float64Array {
  const means = new Float64Array(values.length / repeats);
  values.forEach((value, channel) => {
    const at = scaleOf(channel, size, repeats);
    means[at] = (means[at] as number) + value / repeats;
  });
  return means;
}

/** The inverse: of one number per scale, one per channel. */
export function perChannel(
  scales: Float32Array,
  { size, repeats }: Pick<ScalingGroup, 'size' | 'repeats'>,
): Float32Array {
  return Float32Array.from(
    { length: scales.length * repeats },
    (_, channel) => scales[scaleOf(channel, size, repeats)] as number,
  );
}

function scaleOf(channel: number, size: number, repeats: number): number {
  return Math.floor(channel / (size * repeats)) * size + (channel % size);
}
