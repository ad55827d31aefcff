import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../sources/package-root';

/** SHA-256 of pieces, on threads of the addon's own. */
export interface NativeHash {
  /** The piece must stay as it is, and the next one wait, until this has settled. */
  update(piece: Uint8Array): Promise<void>;
  digest(encoding?: 'hex'): string;
}

/** What `native/` exports: see native/src/addon.rs. Arrays are read where they lie until the promise settles. */
export interface NativeAddon {
  /** `avx512`, `avx2`, `neon`; `baseline` where the machine has none of them. */
  instructionSet(): string;
  /** For tests and measurements; false where the machine lacks it. */
  useInstructionSet(name: string): boolean;
  /** Calls off the work that it was given to, between two blocks. */
  readonly Cancellation: new () => NativeCancellation;
  /** Uᵀ of the inverse of the damped Hessian `[columns, columns]`, in the order of solving; null: not positive definite. */
  inverseFactor(
    problem: NativeFactorization,
    threads: number,
    cancellation: NativeCancellation,
  ): Promise<Float64Array | null>;
  /** All rows of a linear: method, refinements and the sums for the report. */
  quantizeLinear(linear: NativeLinear, threads: number, cancellation: NativeCancellation): Promise<NativeResult>;
  /** A = L Lᵀ in place, for measurements. */
  cholesky(matrix: Float64Array, columns: number, threads: number): boolean;
  choleskySingle(matrix: Float32Array, columns: number, threads: number): boolean;
  /** Whether `bfloat16` is faster than `float32` on this processor. */
  hasBfloat16Products(): boolean;
  /** Numbers in the sums of {@link NativeAddon.addGram}: the upper triangle of `[columns, columns]` in tiles. */
  gramSumsLength(columns: number): number;
  /**
   * Adds XᵀX of `x` `[tokens, columns]` to the sums; see native/src/gram.rs. The sums are float32 over 256 tokens (512 in bfloat16),
   * float64 beyond, and the same for every number of threads. It blocks the calling thread.
   */
  addGram(sums: Float64Array, x: Float32Array, columns: number, precision: GramPrecision, threads: number): void;
  /** The symmetric matrix of the sums, `[columns, columns]`. It blocks the calling thread. */
  gramMatrix(sums: Float64Array, columns: number, threads: number): Float32Array;
  /** `[tokens]`: the sum of squares of each row of `x` `[tokens, columns]`. It blocks the calling thread. */
  rowEnergies(x: Float32Array, columns: number, threads: number): Float32Array;
  /** `sum = a + b`. This and the operators that follow: see native/src/elementwise.rs; the same bytes on any number of threads. They block the calling thread. */
  add(a: Float32Array, b: Float32Array, sum: Float32Array, threads: number): void;
  /** Root mean square norm of the rows of `x` `[tokens, columns]`, with `weight` `[columns]`, into `y`. */
  rmsNorm(x: Float32Array, weight: Float32Array, epsilon: number, y: Float32Array, threads: number): void;
  /** Layer norm of the rows of `x` `[tokens, columns]`, with `weight` and `bias` `[columns]`, into `y`. */
  layerNorm(
    x: Float32Array,
    weight: Float32Array,
    bias: Float32Array,
    epsilon: number,
    y: Float32Array,
    threads: number,
  ): void;
  /** `x` becomes GELU(x), by the tanh approximation. */
  geluTanh(x: Float32Array, threads: number): void;
  /** `gate` becomes `silu(gate) · up`. */
  gatedSilu(gate: Float32Array, up: Float32Array, threads: number): void;
  /** `gate` becomes `gelu(gate) · up`, GELU by the tanh approximation. */
  gatedGeluTanh(gate: Float32Array, up: Float32Array, threads: number): void;
  /** Turns the pairs of `x` `[tokens, heads · headSize]`, in place, by the angle of the token's position in its sequence. */
  rotate(x: Float32Array, options: NativeRotary, threads: number): void;
  /** Bytes from the beginning of the memory to the next cache line; see on-lines.ts. */
  bytesToLine(memory: Uint8Array): number;
  /** Words of a packed weight `[rows, columns]`: about half of float32. */
  packedLength(rows: number, columns: number): number;
  /**
   * Rounds a weight `[rows, columns]` to bfloat16 and packs it for {@link NativeAddon.multiplyLinear}; the words are the same for every
   * instruction set. `threads`: default 1. It blocks the calling thread.
   */
  packLinear(weight: Float32Array, rows: number, columns: number, packed: Uint32Array, threads?: number): void;
  /** The same of `(code - zero) * scale`, without a copy in float32. */
  packLinearFromCodes(linear: NativeCodes, packed: Uint32Array, threads?: number): void;
  /**
   * `y = x Wᵀ + bias`: `x` `[tokens, columns]`, a packed weight `[rows, columns]`, `bias` `[rows]`, `y` `[tokens, rows]`. Factors are rounded to
   * bfloat16, products and sums are float32; the bytes depend neither on the number of threads, nor on which tokens share a call, nor
   * on the instruction set. See native/src/multiply.rs. It blocks the calling thread.
   */
  multiplyLinear(
    x: Float32Array,
    columns: number,
    packed: Uint32Array,
    rows: number,
    bias: Float32Array | null,
    y: Float32Array,
    threads: number,
  ): void;
  /** The same of linears that share `x`, which is rounded once. */
  multiplyLinears(x: Float32Array, columns: number, linears: readonly NativeProduct[], threads: number): void;
  /**
   * `softmax(scale · q Kᵀ) V` over the keys of a sequence up to the query's own, or the last ones of them: `query` and `context` `[tokens, heads * headSize]`,
   * `key` and `value` `[tokens, keyValueHeads * headSize]`, as linears leave them; tokens are whole sequences. Head h attends to head
   * h / (heads / keyValueHeads). All of it is float32; the bytes depend neither on the number of threads, nor on which sequences share
   * a call, nor on the instruction set. Rows that see a NaN or a score that is not finite are NaN. See native/src/attention.rs. It
   * blocks the calling thread.
   */
  causalAttention(
    query: Float32Array,
    key: Float32Array,
    value: Float32Array,
    context: Float32Array,
    options: NativeAttention,
  ): void;
  /** Whether the processor and the system have AMX, which multiplies bfloat16 in tiles. It is off until {@link NativeAddon.useAmx}. */
  hasAmx(): boolean;
  /** See engine/store/content-hash.ts. */
  readonly Sha256: new () => NativeHash;
  /** Whether small products on AMX are right here. It may crash or hang: only in a process of its own, see enable-amx.ts. */
  amxWorks(): boolean;
  /** Products of bfloat16 use AMX from now on, in all threads of the process, or not any more; whether they do. */
  useAmx(wanted: boolean): boolean;
  /**
   * Adds Dᵀ X of `d` `[tokens, rows]` and `x` `[tokens, columns]` to the sums `[rows, columns]`: float32 over 512 tokens, float64 beyond, the
   * same for every number of threads. `rounded`: both factors are rounded to bfloat16 first. It blocks the calling thread.
   */
  addProduct(
    sums: Float64Array,
    d: Float32Array,
    rows: number,
    x: Float32Array,
    columns: number,
    rounded: boolean,
    threads: number,
  ): void;
  /** See engine/quantizers/mismatch-target.ts. */
  mismatchTarget(task: NativeMismatch, threads: number): Promise<Float32Array | null>;
  /** See {@link Kernels.gptqOnGrid}. This and the two that follow block the calling thread; the same bytes on any number of threads. */
  gptqOnGrid(
    rows: NativeGridRows,
    solveOrder: Int32Array,
    factor: Float64Array,
    codes: Uint8Array,
    threads: number,
  ): void;
  /** See {@link Kernels.descendOnGrid}. */
  descendOnGrid(rows: NativeGridRows, hessian: Float64Array, rounds: number, codes: Uint8Array, threads: number): void;
  /** `D H Dᵀ` of each row of `d` `[rows, columns]`, into `energies` `[rows]`. */
  outputEnergies(
    d: Float64Array,
    hessian: Float64Array,
    columns: number,
    energies: Float64Array,
    threads: number,
  ): void;
  /** `sums += partial`, each element. */
  addPartial(sums: Float64Array, partial: Float32Array, threads: number): Promise<void>;
  /** Both halves of `[columns, columns]` become their mean, divided by `tokens`. */
  meanOfHalves(sums: Float64Array, columns: number, tokens: number, threads: number): Promise<void>;
  /** Patterns to float32 values; as many. */
  decodeFloats(format: HalfFormat, from: Uint16Array, to: Float32Array): void;
  /** Float32 values to patterns, ties to even; as many. */
  encodeFloats(format: HalfFormat, from: Float32Array, to: Uint16Array): void;
  /** `(code - zero) * scale`, `[rows, columns]`. */
  dequantize(linear: NativeCodes, weights: Float32Array): void;
  /** See engine/checkpoints/gptq/pack-words.ts. `words` is overwritten. */
  packWords(codes: Uint8Array, planes: readonly NativeBitPlane[], geometry: NativeGeometry, words: Int32Array): void;
  /** `codes` is overwritten. */
  unpackWords(words: Int32Array, planes: readonly NativeBitPlane[], geometry: NativeGeometry, codes: Uint8Array): void;
}

/** `weights` `[rows, columns]` and the RealGrid they are put on. */
export interface NativeGridRows {
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  readonly levels: Float64Array;
  readonly scales: Float64Array;
  readonly offsets: Float64Array;
}

/** What x is rounded to before it is multiplied. */
export type GramPrecision = 'float32' | 'bfloat16';

export type HalfFormat = 'float16' | 'bfloat16';

/** A linear whose product is wanted; see {@link NativeAddon.multiplyLinear}. */
/** `cos`, `sin`: `[positions, rotated / 2]`, at least as many positions as a sequence has tokens. */
export interface NativeRotary {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
  readonly sequenceLength: number;
  readonly heads: number;
  readonly headSize: number;
  /** The first features of a head that are turned. Default: all. */
  readonly rotated?: number;
}

export interface NativeProduct {
  readonly packed: Uint32Array;
  readonly rows: number;
  readonly bias: Float32Array | null;
  /** `[tokens, rows]`, written. */
  readonly y: Float32Array;
}

/** Shapes of a {@link NativeAddon.causalAttention}. */
export interface NativeAttention {
  /** Tokens of every sequence. */
  readonly sequenceLength: number;
  readonly heads: number;
  /** `heads` is a multiple of it. */
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** Keys that a query sees, its own among them. Default: all. */
  readonly window?: number;
  /** Default: 1 / sqrt(headSize). */
  readonly scale?: number;
  /** Scores become cap · tanh(score / cap). Default: none. */
  readonly cap?: number;
  readonly threads: number;
}

/** MismatchTask of engine/quantizers/mismatch-target.ts. */
export interface NativeMismatch {
  readonly weight: Float32Array;
  /** By half of the tokens. */
  readonly missing: readonly [NativeTokenSum, NativeTokenSum];
  readonly squares?: NativeTokenSum;
  readonly rows: number;
  readonly columns: number;
  readonly hessian: Float64Array;
  readonly scale: number;
  readonly dead: Uint8Array;
  readonly allTokensShare: number;
  readonly damping: number;
  readonly share: number;
}

export interface NativeTokenSum {
  readonly sum: Float32Array;
  readonly tokens: number;
}

/** A part of AffineLinear. */
export interface NativeCodes {
  readonly rows: number;
  readonly columns: number;
  readonly codes: Uint8Array;
  readonly zeros: Uint8Array;
  readonly scales: Float32Array;
  readonly groupOf: Int32Array;
}

export interface NativeBitPlane {
  readonly width: number;
  readonly shift: number;
}

export interface NativeGeometry {
  readonly lanes: number;
  readonly length: number;
  readonly codes: { readonly lane: number; readonly item: number };
  readonly words: { readonly lane: number; readonly item: number };
}

export interface NativeCancellation {
  cancel(): void;
}

export interface NativeFactorization {
  readonly hessian: Float64Array;
  readonly columns: number;
  readonly solveOrder: Int32Array;
  readonly dead: Uint8Array;
  readonly damping: number;
  /** Least value of the diagonal before it is damped. */
  readonly floor: number;
}

export interface NativeLinear {
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
  readonly levels: number;
  readonly symmetric: boolean;
  readonly minimumZero: number;
  /** `gptq-static`: scales from the original weights; `gptq`: scales that are found on the way. */
  readonly method: 'rtn' | 'gptq-static' | 'gptq';
  readonly search: boolean;
  /** See ScaleProblem. */
  readonly neighbours?: boolean;
  /** Columns are weighed by the pivots of the factor, not by the diagonal of the Hessian. */
  readonly pivots?: boolean;
  readonly refinements: number;
  /** Steps of learned rounding before the refinements; default 0. */
  readonly learnedRounding?: number;
  /** Share of the mean live diagonal of the Hessian that is added to it while refining; default 0. */
  readonly refinementDamping?: number;
  /** Times that GPTQ runs again with the refined scales; default 0. */
  readonly restarts?: number;
  /** Rounds of refinement that begin with solving every group again; default 0. */
  readonly groupRounds?: number;
  /** Sums for the report; default true. Measurements leave them out. */
  readonly errors?: boolean;
  readonly solvable?: {
    readonly hessian: Float64Array;
    readonly outerOrder: Int32Array;
    readonly solveOrder: Int32Array;
    readonly dead: Uint8Array;
    readonly factor?: Float64Array;
  };
}

export type NativeResult =
  | {
      readonly codes: Uint8Array;
      readonly scales: Float32Array;
      readonly zeros: Uint8Array;
      readonly errorsBefore: Float64Array;
      readonly errorsLearned?: Float64Array;
      readonly errorsRefined: Float64Array;
      readonly errorsRestarted: Float64Array;
      readonly errors: Float64Array;
      readonly energies: Float64Array;
      readonly weightErrors: Float64Array;
      readonly weightEnergies: Float64Array;
    }
  | { readonly fault: 'non-finite-weight' | 'scale-too-large'; readonly row: number; readonly at: number };

/** The addon and what to `require` for it, or why there is none. */
export type LoadedAddon =
  | { readonly addon: NativeAddon; readonly place: string }
  | { readonly addon: null; readonly why: string };

/**
 * Loads the native kernels: the ones that `native/` was built to here, else the package with prebuilt ones for this platform
 * (native/README.md).
 */
export function loadNativeAddon(): LoadedAddon {
  const platform = `${process.platform}-${process.arch}`;
  const built = join(packageRoot(), 'native', `quantloom.${platform}.node`);
  const places = [...(existsSync(built) ? [built] : []), `@quantloom/native-${platform}`];
  let why = '';
  for (const place of places) {
    try {
      const addon = require(place) as NativeAddon;
      // Without fused multiply-add in hardware the TypeScript kernels are the faster ones.
      if (addon.instructionSet() !== 'baseline') return { addon, place };
      why = 'the processor has neither AVX2 with FMA nor Neon';
    } catch (error) {
      why = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND' ? why : (error as Error).message;
    }
  }
  return { addon: null, why: why || `there are none for ${platform}: cargo was missing at installation` };
}
