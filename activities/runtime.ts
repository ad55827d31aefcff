import type { Device } from '../engine/devices';
import type { SourceAccess } from '../engine/sources';
import type { ArtifactStore } from '../engine/store/artifact-store';
import type { BatchCarried } from './smaller-batch';
import type { Turns } from './turns';

/** What a worker process lends to its activities. */
export interface ActivityRuntime {
  readonly store: ArtifactStore;
  /** Directory of the store, for `df`-like checks; null when it is not a directory. */
  readonly storeDirectory: string | null;
  /** For models from elsewhere, and quantized ones. Absent: refused. */
  readonly sources?: SourceAccess;
  /** Threads for matrix products and kernels. */
  readonly threads: number;
  /** For matrix products of stages and evaluation. Default: the CPU. */
  readonly device?: Device;
  /** Task queue of its own, where what it makes stays at hand. Absent: nothing does, or it is at hand everywhere. */
  readonly ownQueue?: string | undefined;
  /** For what takes the whole device: stages come one after another from several queues. Absent: no bound. */
  readonly turns?: Turns;
  /** Signs what webhooks are told. Absent: it goes unsigned. */
  readonly webhookSecret?: string | null;
  /** One structured line per event; goes to the worker's log. */
  log(event: string, fields: Readonly<Record<string, unknown>>): void;
}

/** What an activity knows of the attempt that runs it. */
export interface Attempt {
  readonly signal: AbortSignal;
  /** What it is doing, for the next heartbeat: tells slow from stalled. */
  progress(details: Readonly<Record<string, unknown>>): void;
  /** What an attempt before this one has found out about memory. */
  readonly batch?: BatchCarried | undefined;
}
