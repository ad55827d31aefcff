export type JobPhase =
  | 'inspecting'
  | 'fetching'
  | 'tokenizing'
  | 'rotating'
  | 'embedding'
  | 'scaling'
  | 'measuring'
  | 'quantizing'
  | 'assembling'
  | 'verifying'
  | 'evaluating'
  | 'publishing'
  | 'done'
  | 'cancelled';

export interface LayerProgress {
  readonly index: number;
  readonly name: string;
  readonly state: 'waiting' | 'running' | 'done' | 'skipped' | 'needs-review';
  /** The stage in work, e.g. `attention`; empty when none is. */
  readonly stage: string;
  /** Mean over the layer's linears of the relative output error; null until done. */
  readonly relativeError: number | null;
  /** The same before the refinements: what they gained. */
  readonly relativeErrorBeforeRefinement: number | null;
  readonly seconds: number;
  readonly tokensPerSecond: number | null;
  readonly computed: number;
  readonly cached: number;
  /** Seconds of computing that the cached steps have saved. */
  readonly secondsSaved: number;
}

/** Answer of the Query `progress`. */
export interface Progress {
  readonly phase: JobPhase;
  readonly paused: boolean;
  readonly model: string;
  readonly scheme: string;
  readonly output: string;
  readonly layers: readonly LayerProgress[];
  readonly layersDone: number;
  readonly computed: number;
  readonly cached: number;
  readonly secondsSaved: number;
  /** Seconds until done, by the layers that were computed; null while unknown. */
  readonly etaSeconds: number | null;
  /** What the operator has to look at: which step failed, and why. Null: nothing. */
  readonly needsReview: { readonly step: string; readonly layer: number | null; readonly error: string } | null;
  readonly perplexity: { readonly original: number | null; readonly quantized: number | null } | null;
  readonly error: string | null;
}
