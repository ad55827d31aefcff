/** The Hessian of a linear whose grid is found before its codes. In shared memory. */
export interface GridHessian {
  /** `[columns, columns]`, symmetric; the diagonal of dead columns is made up. */
  readonly values: Float64Array;
  /** `[columns]`: 1 where the input was zero in all of the calibration. */
  readonly dead: Uint8Array;
  /** What GPTQ solves with; null: codes are those of the search. */
  readonly compensation: {
    /** `[columns, columns]`, in the order of solving: Uᵀ (see inverseFactor). */
    readonly factor: Float64Array;
    readonly solveOrder: Int32Array;
    /** Of coordinate descent after GPTQ. */
    readonly rounds: number;
  } | null;
}

/** Some rows of such a linear. Plain data, since it crosses threads. */
export interface GridRowsTask {
  /** `[rows, columns]`, finite. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** `[columns]`: what weighs squared errors in the search; undefined: all alike. */
  readonly importance: Float32Array | undefined;
  /** null: none, and no errors of outputs. */
  readonly hessian: GridHessian | null;
  /** The linear's, for messages. */
  readonly name: string;
}

/** All `[rows]`: `ΔW H ΔWᵀ` before the descent and after it, and `W H Wᵀ`. */
export interface OutputSums {
  readonly errorsBefore: Float64Array;
  readonly errors: Float64Array;
  readonly energies: Float64Array;
}

export interface GridRows {
  /** null without a Hessian. */
  readonly outputs: OutputSums | null;
}

/** `[rows, columns]`: W - Q, or W; 0 in dead columns, whose Hessian is made up. */
export function liveDifference(
  { weight, columns }: Pick<GridRowsTask, 'weight' | 'columns'>,
  { dead }: Pick<GridHessian, 'dead'>,
  quantized: Float32Array | null,
): Float64Array {
  const result = Float64Array.from(weight);
  for (let at = 0; at < result.length; at++) {
    if (dead[at % columns]) result[at] = 0;
    else if (quantized) result[at] = (result[at] as number) - (quantized[at] as number);
  }
  return result;
}
