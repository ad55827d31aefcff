import type { InputRounding } from '../models/architecture';
import type { GraphBuilder } from './graph-builder';

/** Divided by where all numbers are zero. */
const SMALLEST_SCALE = 2 ** -100;

/** Half the range of int8, as compressed-tensors has it, and the largest E4M3. */
const STEPS = { int8: 127.5, fp8: 448 } as const;

interface GivenRounding extends Pick<InputRounding, 'type' | 'groupSize'> {
  readonly columns: number;
  /** `[1]`, of all tokens; null: by the largest magnitude. */
  readonly scale: string | null;
}

/**
 * What is left of the input of a linear when a runtime quantizes it: token by token, or group by group of its features, by the largest magnitude, or
 * with a scale that is given.
 *
 * @param x `[tokens, columns]`
 */
export function roundedInput(
  builder: GraphBuilder,
  x: string,
  { type, groupSize, columns, scale }: GivenRounding,
): string {
  if (scale !== null) return quantized(builder, x, type, scale);
  if (groupSize === -1) return roundedRows(builder, x, type);
  const groups = builder.node('Reshape', [x, builder.integers([-1, groupSize])]);
  return builder.node('Reshape', [roundedRows(builder, groups, type), builder.integers([-1, columns])]);
}

function roundedRows(builder: GraphBuilder, x: string, type: InputRounding['type']): string {
  const largest = builder.node('ReduceMax', [builder.node('Abs', [x]), builder.integers([1])]);
  const steps = builder.node('Div', [largest, builder.scalar(STEPS[type])]);
  return quantized(builder, x, type, builder.node('Max', [steps, builder.scalar(SMALLEST_SCALE)]));
}

function quantized(builder: GraphBuilder, x: string, type: InputRounding['type'], scale: string): string {
  const scaled = builder.node('Div', [x, scale]);
  const clipped = (lowest: number, highest: number) =>
    builder.node('Clip', [scaled, builder.scalar(lowest), builder.scalar(highest)]);
  const rounded = type === 'int8' ? builder.node('Round', [clipped(-128, 127)]) : builder.float8(clipped(-448, 448));
  return builder.node('Mul', [rounded, scale]);
}
