import type { LinearShape } from '../models/architecture';

/** MLAS hands out columns in units of this many. */
const COLUMN_UNIT = 16;
/** A thread with at most 64 columns adds in longer runs (K stride 256 instead of 128). */
const LEAST_UNITS = 5;

/**
 * The most threads, up to `threads`, with which x Wᵀ has the same bytes as on one thread.
 *
 * MLAS divides the rows of a product among threads when there are at least as many rows as columns, which changes no sum. Else it
 * divides the columns, and a thread that gets 64 of them or fewer takes the sums over K in other portions. (Products with
 * transA, as for XᵀX, and attention, one head per thread, do not have this.) So few threads are for little work anyway. A
 * processor with two kinds of cores counts each thread as four.
 *
 * @param rows tokens of the sub-batch.
 */
export function invariantThreads(threads: number, rows: number, linears: readonly LinearShape[]): number {
  const limits = linears
    .filter((linear) => rows < linear.rows)
    .map((linear) => Math.floor(Math.ceil(linear.rows / COLUMN_UNIT) / LEAST_UNITS));
  return Math.max(1, Math.min(threads, ...limits));
}
