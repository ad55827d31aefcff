export interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Tensors by name as they are stored: in one file, or in those of a directory. */
export interface StoredTensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The bytes of a tensor. @throws Error when there is no such tensor. */
  read(tensor: string): Promise<Buffer>;
}
