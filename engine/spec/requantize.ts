import type { QuantizationSpecInput } from './quantization-spec';

/** When a new result takes the place of the last promoted one. Rises are shares: 0.005 is 0.5 %; null: any rise will do. */
export interface PromotionRule {
  /** Of perplexity, on the same text. */
  readonly maxPerplexityRise: number | null;
  /** Of the bytes of the weight files. */
  readonly maxSizeRise: number | null;
}

/** Input of the workflow requantizeModel. */
export interface RequantizeRequest {
  /** `output` is the directory of releases: every result gets a directory of its own in it, and `current` links to the promoted one. */
  readonly spec: QuantizationSpecInput;
  readonly rule: PromotionRule;
  /** http or https: told of results, failures, and of what needs review. Absent: nobody is told. */
  readonly webhook?: string;
}

/** What a webhook is told. */
export interface Notification {
  readonly event: 'promoted' | 'kept' | 'failed' | 'needs-review';
  readonly model: string;
  /** Id of the workflow that tells. */
  readonly run: string;
  /** For people. */
  readonly text: string;
  /** The same in every attempt to tell this. */
  readonly delivery: string;
}

/** Signal of a job to the workflow that started it as its child: a step needs review. */
export const NEEDS_REVIEW_SIGNAL = 'needsReview';

export interface ReviewNeeded {
  /** Id of the job. */
  readonly job: string;
  readonly step: string;
  readonly error: string;
}

/** `unchanged`: nothing was done. `promoted`: `current` is the new result. `kept`: `current` is what it was. */
export type RequantizeOutcome = 'unchanged' | 'promoted' | 'kept';

/** Result of the workflow requantizeModel. */
export interface RequantizeResult {
  readonly outcome: RequantizeOutcome;
  /** Why, for people. */
  readonly reason: string;
  /** The source as it was found: a pinned address, or `sha256:` of a model on disk. */
  readonly revision: string;
  /** Name of the release that `current` links to; null: there is none. */
  readonly current: string | null;
  /** Name of the result of this run; null: nothing was quantized. */
  readonly candidate: string | null;
}
