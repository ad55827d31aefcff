import type { Usage } from '../measure/run-measured';
import type { MeasuredPerplexity } from './measure-perplexity';
import type { Outcome } from './tool';

/** One run of one tool, as it stands in the results. */
export interface ComparedRun extends Outcome, Omit<Usage, 'startedAt' | 'processes'> {
  readonly tool: string;
  readonly version: string;
  /** As in --bits. */
  readonly width: string;
  /** Counts from 1. */
  readonly round: number;
  readonly date: string;
  /** Average number of processes that wanted to run in the minute before: far from 0, the times mean little. */
  readonly loadBefore: number;
  /** Of the weight files. */
  readonly weightBytes: number;
  /** Measured in the first round only. */
  readonly perplexity: MeasuredPerplexity | null;
}

/** The model as it was. */
export interface OriginalRun {
  readonly tool: 'original';
  readonly weightBytes: number;
  readonly perplexity: MeasuredPerplexity;
}

export type CompareRun = ComparedRun | OriginalRun;

export function isCompared(run: CompareRun): run is ComparedRun {
  return run.tool !== 'original';
}
