/** One row as it stands in the results; `original` is the model as it was. */
export interface MethodRun {
  readonly name: string;
  readonly weightBytes: number;
  /** Of the quantized linears, scales and zero points included. */
  readonly bitsPerWeight: number;
  readonly perplexity: number;
}
