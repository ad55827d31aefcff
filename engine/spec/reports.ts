import type { Recipe } from './quantization-spec';

/** How the inverse of the Hessian was had. Each rung is tried when the one before fails. */
export type DampingRung = 'as-asked' | 'more-damping' | 'diagonal-floor' | 'round-to-nearest' | 'not-needed';

/** What happened to one linear. */
export interface LinearReport {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** null: kept in 16 bit. */
  readonly recipe: Recipe | null;
  /** tr(ΔW H ΔWᵀ) / tr(W H Wᵀ): squared output error relative to the output's energy. NaN-free; null when there is no Hessian. */
  readonly relativeError: number | null;
  /** ‖ΔW‖² / ‖W‖². */
  readonly relativeWeightError: number;
  /** The same relative output error before the refinements. */
  readonly relativeErrorBeforeRefinement: number | null;
  /** The same after each step of improvement that the recipe asks for, in this order; the last is `relativeError`. */
  readonly relativeErrorAfter?: Readonly<
    Partial<Record<'learnedRounding' | 'refinements' | 'restarts' | 'groupRounds', number>>
  >;
  readonly rung: DampingRung;
  /** The damping that was used in the end. */
  readonly damping: number;
  /** What the condition number of the damped Hessian is at least, to three digits. Absent where none was factorized. */
  readonly condition?: number;
  /** Of an expert's linear: the calibration's tokens that reached it. With fewer than columns the damping grows with what is missing. */
  readonly tokens?: number;
  /** The number for all tokens that runtimes quantize the input with. Absent: scales of tokens, or inputs as they are. */
  readonly inputScale?: number;
  /** Columns of the input that were zero in all of the calibration. */
  readonly deadColumns: number;
}

/** Mean relative output errors over linears that have one. */
export interface MeanErrors {
  readonly relativeError: number | null;
  /** Before the refinements. */
  readonly relativeErrorBeforeRefinement: number | null;
}

/** Error of one linear at several widths, relative to its output (to its weight without a Hessian). */
export interface WidthErrors {
  readonly name: string;
  readonly weights: number;
  readonly errors: readonly { readonly bits: Recipe['bits']; readonly error: number }[];
}

/** Widths that were chosen for an average. */
export interface WidthPlan {
  /** By module name: linears whose bits no override gives. */
  readonly bits: Readonly<Record<string, Recipe['bits']>>;
  /** The mean that was reached over all quantized weights. */
  readonly averageBits: number;
}

export interface BlockReport {
  readonly index: number;
  readonly name: string;
  readonly linears: readonly LinearReport[];
  readonly calibrationTokens: number;
  readonly nonFiniteSequences: number;
  /** Seconds of computing per activity name, cached results not counted. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly computed: number;
  readonly cached: number;
  /** True when the operator chose to keep the layer in 16 bit. */
  readonly skipped: boolean;
}
