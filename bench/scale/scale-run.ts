import type { HistorySizes } from './measure-histories';

export interface ScaleIdentity {
  readonly slices: number;
  readonly parts: number;
  readonly workers: number;
}

/** One whole job whose activities do nothing. */
export interface ScaleRun extends HistorySizes {
  readonly model: string;
  readonly order: string;
  readonly date: string;
  readonly loadBefore: number;
  readonly activities: number;
  readonly wallSeconds: number;
  /** CPU time of the server, and of the process that runs the workflows. */
  readonly serverSeconds: number;
  readonly controlSeconds: number;
  readonly serverPeakBytes: number;
  readonly controlPeakBytes: number;
}
