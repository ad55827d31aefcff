import type { MeasuredCommand, Usage } from '../measure/run-measured';
import type { Width } from './options';
import type { Workload } from './workload';

/** One run of one tool. */
export interface Task {
  readonly workload: Workload;
  readonly width: Width;
  /** Where the checkpoint goes; does not exist yet. */
  readonly output: string;
  /** Empty, for whatever the tool needs; removed afterwards. */
  readonly scratch: string;
}

/** Who reads a checkpoint: Quantloom's evaluator where it knows the format, and a library of the format's owner. */
export interface Readers {
  readonly quantloom: boolean;
  readonly owner: 'gptqmodel' | 'transformers';
}

/** What a tool says of a run that ended well. */
export interface Outcome {
  /** Settings that took effect, as the tool reports them. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Where its time went, in its own words. */
  readonly parts: Readonly<Record<string, unknown>>;
}

export interface Tool {
  readonly name: string;
  readonly title: string;
  readonly version: string;
  readonly readers: Readers;
  command(task: Task): Omit<MeasuredCommand, 'stdout' | 'stderr'>;
  /** @param usage what `command` took. @param stdout its standard output. */
  outcome(task: Task, usage: Usage, stdout: string): Outcome;
}
