import type { InputRounding } from '../models/architecture';
import type { GraphBuilder } from './graph-builder';

type Rounding = InputRounding['type'];

/** Divided by where all numbers are zero. */
const SMALLEST_SCALE = 2 ** -100;
/** Those of E8M0, and what compressed-tensors has where a scale in E4M3 is zero. */
const SMALLEST_POWER = 2 ** -127;
const ZERO_SCALE = 0.125;

interface GivenRounding extends Pick<InputRounding, 'type' | 'groupSize'> {
  readonly columns: number;
  /** `[1]`, of all tokens; null: by the largest magnitude alone. */
  readonly scale: string | null;
}

/**
 * What is left of the input of a linear when a runtime quantizes it: token by token, or group by group of its features, by the largest magnitude, or
 * with a scale that is given. The same bits as compressed-tensors'.
 *
 * @param x `[tokens, columns]`
 */
export function roundedInput(
  builder: GraphBuilder,
  x: string,
  { type, groupSize, columns, scale }: GivenRounding,
): string {
  if (groupSize === -1) return roundedRows(builder, x, type, scale);
  const groups = builder.node('Reshape', [x, builder.integers([-1, groupSize])]);
  return builder.node('Reshape', [roundedRows(builder, groups, type, scale), builder.integers([-1, columns])]);
}

function roundedRows(builder: GraphBuilder, x: string, type: Rounding, given: string | null): string {
  const scale = type === 'fp8' && given !== null ? given : scaleOfRows(builder, x, type, given);
  const rounded = ELEMENTS[type](builder, builder.node('Div', [x, scale]));
  return builder.node('Mul', [rounded, scale]);
}

/** `[rows, 1]` @param given what scales in E4M3 are divided by. */
function scaleOfRows(builder: GraphBuilder, x: string, type: Rounding, given: string | null): string {
  const largest = builder.node('ReduceMax', [builder.node('Abs', [x]), builder.integers([1])]);
  if (type === 'mxfp4') return quarterOfPower(builder, largest);
  const steps = (range: number) => builder.node('Div', [largest, builder.scalar(range)]);
  if (type !== 'nvfp4') {
    // Half the range of int8, as compressed-tensors has it, and the largest E4M3.
    return builder.node('Max', [steps(type === 'int8' ? 127.5 : 448), builder.scalar(SMALLEST_SCALE)]);
  }
  const divisor = given as string;
  const stored = builder.float8(clipped(builder, builder.node('Mul', [steps(6), divisor]), -448, 448));
  const isZero = builder.node('Equal', [stored, builder.scalar(0)]);
  return builder.node('Div', [builder.node('Where', [isZero, builder.scalar(ZERO_SCALE), stored]), divisor]);
}

/**
 * A fourth of the power of two below, of magnitudes from 1.75 on the one above: without a look at bits. What 2^23 + 1 times a number leaves of it is one
 * bit, rounded (Dekker 1971, Numerische Mathematik 18, section 5.4): rounded up below 1.75 it is halved.
 */
function quarterOfPower(builder: GraphBuilder, largest: string): string {
  const times = (x: string, factor: number) => builder.node('Mul', [x, builder.scalar(factor)]);
  const spread = times(largest, 2 ** 23 + 1);
  const power = builder.node('Sub', [spread, builder.node('Sub', [spread, largest])]);
  const isBelow = builder.node('Less', [largest, times(power, 7 / 8)]);
  const quarter = builder.node('Where', [isBelow, times(power, 1 / 8), times(power, 1 / 4)]);
  return builder.node('Max', [quarter, builder.scalar(SMALLEST_POWER)]);
}

const float4 = (builder: GraphBuilder, x: string) => builder.float4(clipped(builder, x, -6, 6));

/** What is left of numbers that are divided by their scale. */
const ELEMENTS: Readonly<Record<Rounding, (builder: GraphBuilder, x: string) => string>> = {
  int8: (builder, x) => builder.node('Round', [clipped(builder, x, -128, 127)]),
  fp8: (builder, x) => builder.float8(clipped(builder, x, -448, 448)),
  mxfp4: float4,
  nvfp4: float4,
};

function clipped(builder: GraphBuilder, x: string, lowest: number, highest: number): string {
  return builder.node('Clip', [x, builder.scalar(lowest), builder.scalar(highest)]);
}
