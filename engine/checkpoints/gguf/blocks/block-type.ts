import { QUANTIZED_BLOCK_TYPES } from '../../../spec/gguf-names';

/** Block types of GGUF that can be read and written, by their names in ggml. */
export const BLOCK_TYPE_NAMES = ['F32', 'F16', 'BF16', ...QUANTIZED_BLOCK_TYPES] as const;
export type BlockTypeName = (typeof BLOCK_TYPE_NAMES)[number];

/** Whether weights of this type are plain floats. */
export function isPlain(type: BlockTypeName): type is 'F32' | 'F16' | 'BF16' {
  return type === 'F32' || type === 'F16' || type === 'BF16';
}

/** How codes lie in the blocks of a type: `x = scale · levels[code] + offset`, scale and offset of a group of weights. */
export interface BlockCodes {
  /** Rising. */
  readonly levels: ArrayLike<number>;
  /** Weights that share scale and offset. */
  readonly groupSize: number;
  /**
   * Replaces the codes of the block at `at`, and leaves its scales.
   *
   * @param codes `[blockSize]`: places in `levels`.
   */
  pack(codes: Uint8Array, blocks: Uint8Array, at: number): void;
}

/** An entry of the registry: how consecutive weights of a row are stored in bytes (ggml-common.h, `block_*`). */
export interface BlockType {
  readonly name: BlockTypeName;
  /** `ggml_type` of the file. */
  readonly id: number;
  /** Weights per block. Rows are a multiple of it: a block never holds weights of two rows. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Largest |weight| that is sure to be stored as a finite number. */
  readonly largestMagnitude: number;
  /** Absent: there are no codes, as in F16. */
  readonly codes?: BlockCodes;
  /**
   * Blocks to float32, bit for bit as gguf-py's `dequantize`.
   *
   * @param blocks a multiple of `blockBytes`.
   * @param values as many weights as these blocks hold.
   */
  decode(blocks: Uint8Array, values: Float32Array): void;
  /**
   * Finite float32 weights to blocks.
   *
   * @param values `[rows, columns]`, columns a multiple of `blockSize`.
   * @param blocks as many as these weights fill.
   * @param importance `[columns]`, none negative: the mean square of each input feature. Where the type has a search, it minimizes
   * `Σ importance (x - x̂)²`; without importance, the K and IQ4 types search with equal weights, and the others round as ggml does.
   */
  encode(values: Float32Array, blocks: Uint8Array, importance?: Float32Array): void;
}
