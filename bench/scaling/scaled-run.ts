import type { Usage } from '../measure/run-measured';
import type { RunSplit } from '../measure/split-run';
import type { SeriesName } from './options';

/** What one run of a series is. */
export interface ScalingPoint {
  readonly series: SeriesName;
  readonly layers: number;
  readonly samples: number;
  /** CPU and GPU workers each. */
  readonly workers: number;
  /** Per worker; null: as many as there are cores. */
  readonly threads: number | null;
}

export interface ScaledRun extends ScalingPoint, Omit<Usage, 'startedAt' | 'processes'> {
  /** Counts from 1. */
  readonly round: number;
  readonly date: string;
  readonly loadBefore: number;
  readonly split: RunSplit;
}

export interface ScalingIdentity {
  readonly model: string;
  readonly length: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly sliceTokens: number;
  readonly quality: string | null;
}

/** What varies in a series. */
export function abscissaOf(run: ScalingPoint, { length }: Pick<ScalingIdentity, 'length'>): number {
  return { tokens: run.samples * length, layers: run.layers, workers: run.workers }[run.series];
}
