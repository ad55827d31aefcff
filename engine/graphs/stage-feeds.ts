import { Tensor } from 'onnxruntime-node';
import { linearKey } from '../models';
import type { LinearShape, ModelShape, RotaryScaling, Stage } from '../models/architecture';
import { type FloatTensor, QuantloomError } from '../spec';
import { activationFeatures, parameterShape } from './decoder-graph';
import { rotaryPairs, rotaryTable } from './rotary-table';

export type Feeds = Record<string, Tensor>;
export type FloatTensors = ReadonlyMap<string, FloatTensor>;

/** Wraps, does not copy. */
export function floatFeed(data: Float32Array, shape: readonly number[]): Tensor {
  return new Tensor('float32', data, shape);
}

/**
 * Weights, biases and scales of inputs by role, as a decoder graph names them.
 *
 * @throws QuantloomError InvalidModel when a tensor is missing or has another shape.
 */
export function linearFeeds(linears: readonly LinearShape[], weights: FloatTensors): Feeds {
  const feeds: Feeds = {};
  for (const linear of linears) {
    const { name, rows, columns, bias, inputs } = linear;
    const key = linearKey(linear);
    feeds[`${key}.weight`] = weightFeed(weights, `${name}.weight`, [rows, columns]);
    if (bias) feeds[`${key}.bias`] = weightFeed(weights, `${name}.bias`, [rows]);
    if (inputs?.scale) feeds[`${key}.input-scale`] = weightFeed(weights, `${name}.${inputs.scale}`, [1]);
  }
  return feeds;
}

/** @throws QuantloomError InvalidModel when the tensor is missing or has another shape. */
export function weightFeed(weights: FloatTensors, name: string, expected: readonly number[]): Tensor {
  const found = weights.get(name);
  if (found !== undefined && String(found.shape) === String(expected)) return floatFeed(found.data, found.shape);
  const fault = found === undefined ? 'is missing' : `has shape [${found.shape.join(', ')}]`;
  throw new QuantloomError('InvalidModel', `The tensor ${name} ${fault}; expected shape [${expected.join(', ')}].`, {
    details: { tensor: name },
  });
}

/** A parameter as it is computed with: gains of norms may be stored less an offset. */
export function parameterFeed(role: string, stored: Tensor, { gainOffset }: ModelShape): Tensor {
  if (gainOffset === undefined || !role.endsWith('norm')) return stored;
  return floatFeed(
    (stored.data as Float32Array).map((gain) => gain + gainOffset),
    stored.dims,
  );
}

/**
 * Parameters of a stage by role, which `prefix` is put before.
 *
 * @throws QuantloomError InvalidModel when a tensor is missing or has another shape.
 */
export function parameterFeeds(stage: Stage, weights: FloatTensors, shape: ModelShape, prefix = ''): Feeds {
  return Object.fromEntries(
    Object.entries(stage.parameters).map(([role, name]) => [
      prefix + role,
      parameterFeed(role, weightFeed(weights, name, parameterShape(role, shape)), shape),
    ]),
  );
}

/** Cosines and sines of the positions 0 to `positions` - 1; nothing where positions are not rotary. */
export function rotaryFeeds(rotary: RotaryScaling | null, headSize: number, positions: number): Feeds {
  if (rotary === null) return {};
  const { cos, sin } = rotaryTable(rotary, headSize, positions);
  const dimensions = [positions, rotaryPairs(rotary, headSize)];
  return { cos: floatFeed(cos, dimensions), sin: floatFeed(sin, dimensions) };
}

/** `[sequences, count]`, every row counting from `first`. */
export function positionIds(sequences: number, first: number, count: number): Tensor {
  const ids = BigInt64Array.from({ length: sequences * count }, (_, i) => BigInt(first + (i % count)));
  return new Tensor('int64', ids, [sequences, count]);
}

/** Number and length of the sequences that a stage's activations hold. */
export interface Layout {
  readonly sequences: number;
  readonly sequenceLength: number;
}

/** @throws QuantloomError UnsupportedInput when an activation that the stage reads is missing or has another shape than the others. */
export function layoutOf(stage: Stage, activations: FloatTensors, shape: ModelShape): Layout {
  const [sequences, sequenceLength] = activations.get(stage.reads[0] as string)?.shape ?? [];
  for (const name of stage.reads) {
    const found = activations.get(name);
    const expected = [sequences ?? '?', sequenceLength ?? '?', activationFeatures(name, shape)];
    if (found !== undefined && String(found.shape) === String(expected)) continue;
    const fault = found === undefined ? 'was not given' : `has shape [${found.shape.join(', ')}]`;
    throw new QuantloomError(
      'UnsupportedInput',
      `Stage "${stage.name}": the activation "${name}" ${fault}; expected [${expected.join(', ')}].`,
      { details: { stage: stage.name, activation: name } },
    );
  }
  return { sequences: sequences as number, sequenceLength: sequenceLength as number };
}

/** `[chosen, stride]`: some sequences of a batch; adjacent ones are not copied. */
export function rowsOf(data: Float32Array, chosen: readonly number[], stride: number): Float32Array {
  const first = chosen[0] as number;
  const last = chosen[chosen.length - 1] as number;
  if (last - first + 1 === chosen.length) return data.subarray(first * stride, (last + 1) * stride);
  const rows = new Float32Array(chosen.length * stride);
  chosen.forEach((sequence, i) => {
    rows.set(data.subarray(sequence * stride, (sequence + 1) * stride), i * stride);
  });
  return rows;
}
