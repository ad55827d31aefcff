/** Block types of GGUF that can be read and written, by their names in ggml. */
export const BLOCK_TYPE_NAMES = [
  'F32',
  'F16',
  'BF16',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q8_0',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
  'IQ4_NL',
  'IQ4_XS',
  'TQ1_0',
  'TQ2_0',
  'MXFP4',
] as const;
export type BlockTypeName = (typeof BLOCK_TYPE_NAMES)[number];

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
