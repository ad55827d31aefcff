/** Writes `W[first .. first + count, :]` in float32 into memory of `count * columns` numbers. */
export type RowReader = (first: number, count: number, weights: Float32Array) => void;

/** Takes the next so many bytes of a file, where they lie in it. */
export type TakeBytes = (bytes: number) => Uint8Array;

/** An entry of the registry: a kind of stored weights. Adding one is one file and one line. */
export interface Grid<Linear extends { readonly kind: string }> {
  readonly kind: Linear['kind'];

  /** The weights that readers compute, by rows. */
  open(linear: Linear): RowReader;

  /** A linear as bytes: what is no array, as JSON, and the arrays in the order in which `join` takes them. */
  split(linear: Linear): { readonly header: object; readonly arrays: readonly ArrayBufferView[] };

  /** The inverse of `split`. Bytes may be kept where they lie; numbers of more than a byte have to be copied, for their alignment. */
  join(header: Readonly<Record<string, unknown>>, take: TakeBytes): Linear;
}
