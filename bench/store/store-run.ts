/** What is moved. */
export interface StoreIdentity {
  readonly files: number;
  /** Of each. */
  readonly bytes: number;
}

export interface StoreRun {
  readonly round: number;
  /** By what was done. */
  readonly mebibytesPerSecond: Readonly<Record<string, number>>;
}
