import type { Device } from '../engine/devices';
import { QuantloomError } from '../engine/spec';

/** What a heartbeat carries from an attempt that ran out of memory to the next one. */
export interface BatchCarried {
  /** Tokens that a stage may be run on at once; whole sequences, at least one. */
  readonly batchTokens: number;
}

/** Of the last heartbeat of the attempt before; undefined: it did not run out of memory. */
export function carriedBatch(heartbeatDetails: unknown): BatchCarried | undefined {
  const { batchTokens } = (heartbeatDetails ?? {}) as Partial<BatchCarried>;
  return typeof batchTokens === 'number' && batchTokens > 0 ? { batchTokens } : undefined;
}

/** Activities have four attempts: the last one that may help takes what can be had, one sequence at a time. */
const HALVING_ATTEMPTS = 2;

/** For the attempt after this one; undefined where its failure has nothing to do with the batch. */
export function batchAfter(error: unknown, attempt: number): BatchCarried | undefined {
  if (!QuantloomError.is(error) || error.code !== 'DeviceOutOfMemory' || !error.retryable) return undefined;
  const { sequences, sequenceLength } = error.options.details as { sequences: number; sequenceLength: number };
  const fewer = attempt <= HALVING_ATTEMPTS ? Math.floor(sequences / 2) : 1;
  return { batchTokens: fewer * sequenceLength };
}

/** By work that is alike: what this process found out. The next slice of a stage need not run out of memory first. */
const found = new Map<string, number>();

/** Remembers what `work` ran out of memory with. */
export function rememberBatch(work: string, error: unknown): void {
  const batch = batchAfter(error, 1);
  if (batch) found.set(work, batch.batchTokens);
}

/** The device, its batches bounded by what the attempt before has found out, and by what this process knows of such work. */
export function deviceWithin(device: Device, carried: BatchCarried | undefined, work?: string): Device {
  const known = work === undefined ? undefined : found.get(work);
  const bounds = [carried?.batchTokens, known].filter((bound) => bound !== undefined);
  return bounds.length === 0 ? device : { ...device, batchTokens: Math.min(...bounds) };
}
