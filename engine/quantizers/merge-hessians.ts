import { setImmediate } from 'node:timers/promises';
import { type NativeAddon, selectKernels } from '../kernels';
import { QuantloomError } from '../spec';

/** XᵀX of one slice of the calibration set. */
export interface PartialHessian {
  /** `[columns, columns]`: Σ x xᵀ over the slice's tokens. */
  readonly gram: Float32Array;
  readonly tokens: number;
}

export interface MergeOptions {
  /** Default 1. With native kernels nothing runs on the event loop. The bytes depend on neither. */
  readonly threads?: number;
  /** null: in TypeScript, with turns for the event loop. Default: what selectKernels chooses. */
  readonly native?: NativeAddon | null;
  /** Where the sums go, `[columns * columns]`, of any content. Default: memory of their own. */
  readonly memory?: Float64Array;
  /** Sums without any token stay zero. Default: they are refused. */
  readonly mayBeEmpty?: true;
}

/** Numbers that are added before the event loop gets a turn. */
const NUMBERS_PER_TURN = 1 << 22;

/**
 * Mean of x xᵀ per token over all slices: float64 sums in the given order, so that the bytes depend on the slices and on nothing
 * else, divided by the tokens. The result is exactly symmetric (the mean of both halves).
 *
 * @param partials taken one after the other: an async iterable needs memory for one at a time. Their order decides the last bits.
 * @throws QuantloomError InvalidCalibration without any token, or when shapes differ.
 */
export async function mergeHessians(
  partials: Iterable<PartialHessian> | AsyncIterable<PartialHessian>,
  { threads = 1, native = selectKernels().native, memory, mayBeEmpty }: MergeOptions = {},
): Promise<{ hessian: Float64Array; tokens: number }> {
  let sum: Float64Array | null = null;
  let tokens = 0;
  for await (const partial of partials) {
    sum ??= memory?.fill(0) ?? new Float64Array(partial.gram.length);
    if (partial.gram.length !== sum.length) {
      throw new QuantloomError(
        'InvalidCalibration',
        `Partial Hessians have ${sum.length} and ${partial.gram.length} entries; they must be of one input.`,
      );
    }
    if (native) await native.addPartial(sum, partial.gram, threads);
    else await addPartial(sum, partial.gram);
    tokens += partial.tokens;
  }
  if (sum && tokens === 0 && mayBeEmpty) return { hessian: sum, tokens };
  if (!sum || !(tokens > 0)) {
    throw new QuantloomError('InvalidCalibration', 'No calibration tokens were counted, so there is no Hessian.');
  }
  const columns = Math.sqrt(sum.length);
  if (!Number.isInteger(columns)) {
    throw new QuantloomError('InvalidCalibration', `A Hessian with ${sum.length} entries is not square.`);
  }
  if (native) await native.meanOfHalves(sum, columns, tokens, threads);
  else await meanOfHalves(sum, columns, tokens);
  return { hessian: sum, tokens };
}

async function addPartial(sum: Float64Array, gram: Float32Array): Promise<void> {
  for (let first = 0; first < sum.length; first += NUMBERS_PER_TURN) {
    const last = Math.min(first + NUMBERS_PER_TURN, sum.length);
    for (let i = first; i < last; i++) sum[i] = (sum[i] as number) + (gram[i] as number);
    await setImmediate();
  }
}

async function meanOfHalves(sum: Float64Array, columns: number, tokens: number): Promise<void> {
  const rowsPerTurn = Math.ceil(NUMBERS_PER_TURN / columns);
  for (let i = 0; i < columns; i++) {
    if (i % rowsPerTurn === rowsPerTurn - 1) await setImmediate();
    for (let j = 0; j <= i; j++) {
      const mean = ((sum[i * columns + j] as number) + (sum[j * columns + i] as number)) / (2 * tokens);
      sum[i * columns + j] = mean;
      sum[j * columns + i] = mean;
    }
  }
}
