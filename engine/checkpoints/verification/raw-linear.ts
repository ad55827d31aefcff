/** Numbers that a linear has beside its codes. */
export interface RawParameters<Values> {
  /** The tensor that holds them: the last part of its name. */
  readonly part: string;
  /** As the file holds them. */
  readonly values: Values;
  /** What a value belongs to, for messages: `group 1, row 3`. */
  where(index: number): string;
}

/** A quantized linear as an independent decoder gets it from the bytes of a file. */
export interface RawLinear {
  readonly rows: number;
  readonly columns: number;
  /** Positive numbers, but where the format has signs. */
  readonly scales: RawParameters<Float32Array> & { readonly dtype: string; readonly signed?: true };
  /** What runtimes quantize all inputs with, positive too. Absent: there is none. */
  readonly inputScale?: RawParameters<Float32Array>;
  /** Zero points of the file, `offset` less than the codes that they stand for. null: it has none. */
  readonly zeros:
    | (RawParameters<Uint8Array> & { readonly offset: 0 | 1; readonly bits: number; readonly symmetric: boolean })
    | null;
  /** The group of each column. null: scales do not go by columns. */
  readonly groups: { readonly part: string; readonly ofColumn: Int32Array; readonly count: number } | null;
  /** `W[first .. first + count, :]` in float32, in memory of `count * columns` numbers. Some rows at once are faster. */
  weights(first: number, count: number, memory?: Float32Array): Float32Array;
}
