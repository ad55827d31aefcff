import { QuantloomError } from '../../../spec';
import type { BlockType } from './block-type';
import { blockBytesOf } from './block-types';

export interface EncodeBlocksOptions {
  readonly type: BlockType;
  /** `[rows, columns]`, row-major. */
  readonly values: Float32Array;
  readonly columns: number;
  /** `[columns]`: mean square of each input feature, the diagonal of XᵀX. Default: see `BlockType.encode`. */
  readonly importance?: Float32Array;
  /** The tensor's name, for messages. */
  readonly name: string;
}

/**
 * The blocks of a matrix, row after row.
 *
 * @throws QuantloomError UnsupportedInput when a row is not a whole number of blocks, or importance does not fit;
 * NonFiniteWeights for a weight that the type cannot hold.
 */
export function encodeBlocks({ type, values, columns, importance, name }: EncodeBlocksOptions): Uint8Array {
  const blocks = new Uint8Array(blockBytesOf(type, values.length / columns, columns));
  checkMagnitudes(type, values, columns, name);
  if (importance !== undefined) checkImportance(importance, columns, name);
  type.encode(values, blocks, importance);
  return blocks;
}

/** The weights of whole blocks, bit for bit what gguf-py makes of them. */
export function decodeBlocks(
  type: BlockType,
  blocks: Uint8Array,
  values = new Float32Array((blocks.length / type.blockBytes) * type.blockSize),
): Float32Array {
  type.decode(blocks, values);
  return values;
}

function checkMagnitudes(type: BlockType, values: Float32Array, columns: number, name: string): void {
  const limit = type.largestMagnitude;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (Math.abs(value) <= limit) continue;
    throw new QuantloomError(
      'NonFiniteWeights',
      `${name}: the weight at row ${Math.floor(i / columns)}, column ${i % columns} is ${value}; ${type.name} holds magnitudes up to ${limit}. Choose F32 for this tensor, or fix the source.`,
      { details: { name, type: type.name, value: String(value) } },
    );
  }
}

function checkImportance(importance: Float32Array, columns: number, name: string): void {
  const fault = importance.findIndex((value) => !(value >= 0 && value < Infinity));
  if (importance.length === columns && fault === -1) return;
  throw new QuantloomError(
    'UnsupportedInput',
    importance.length === columns
      ? `${name}: the importance of column ${fault} is ${importance[fault]}; it has to be a finite number, 0 or more.`
      : `${name}: importance has ${importance.length} values for ${columns} columns.`,
    { details: { name } },
  );
}
