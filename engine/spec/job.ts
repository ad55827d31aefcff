/** Names that the doors (CLI, API) and the workflows agree on. */

export const TASK_QUEUES = { control: 'quantloom-control', cpu: 'quantloom-cpu', gpu: 'quantloom-gpu' } as const;
export type QueueName = keyof typeof TASK_QUEUES;

/**
 * Work for devices that nobody waits for yet. The workers of `gpu` take it too, beside what they are at, so that it never takes the place
 * of what is waited for.
 */
export const AHEAD_TASK_QUEUE = `${TASK_QUEUES.gpu}-ahead`;

/** Queue that one worker of `gpu` alone takes work from, beside the common one: work whose input it has at hand. */
export function ownTaskQueue(machine: string): string {
  return `${TASK_QUEUES.gpu}-at-${machine}`;
}

/** Type of the failure of an activity whose worker is gone. */
export const WORKER_LOST = 'WorkerLost';

/** Workflow types. `quantizeModel` takes one QuantizationSpec object, `requantizeModel` one RequantizeRequest. */
export const WORKFLOWS = {
  quantizeModel: 'quantizeModel',
  requantizeModel: 'requantizeModel',
  quantizeLayer: 'quantizeLayer',
  calibrateLayer: 'calibrateLayer',
  passOriginalLayer: 'passOriginalLayer',
} as const;

/** Query of quantizeModel, answered with a `Progress`; of its child `<job>/layer-<index>`, answered with a `LayerProgress`. */
export const PROGRESS_QUERY = 'progress';

/** Id of the child workflow that works on a layer. */
export function layerWorkflowId(job: string, layer: number): string {
  return `${job}/layer-${layer}`;
}

/**
 * Updates of quantizeModel. Each answers with the `Progress` after it; each is refused with a message when it makes no sense now.
 * Arguments: `retryLayer` and `skipLayer` take `{ layer?: number }` (none: the step that needs review), `setConcurrency` `{ layers: number }`.
 */
export const UPDATES = {
  pause: 'pause',
  resume: 'resume',
  cancel: 'cancel',
  retryLayer: 'retryLayer',
  skipLayer: 'skipLayer',
  setConcurrency: 'setConcurrency',
} as const;

/** Custom search attributes, registered on the server before the first job. Values are Temporal's type names. */
export const SEARCH_ATTRIBUTES = {
  QuantloomModel: 'Keyword',
  QuantloomScheme: 'Keyword',
  QuantloomStage: 'Keyword',
  QuantloomLayersDone: 'Int',
  QuantloomPerplexityDelta: 'Double',
  QuantloomNeedsReview: 'Bool',
  QuantloomOutcome: 'Keyword',
} as const;

/** Result of quantizeModel. */
export interface JobResult {
  /** Directories of the published checkpoints, by format; or the file of an importance matrix, as `imatrix`. */
  readonly outputs: Readonly<Record<string, string>>;
  readonly sourceBytes: number;
  /** Bytes of the weight files of the first format. */
  readonly outputBytes: number;
  /** Mean over all quantized weights, scales and zeros included. */
  readonly bitsPerWeight: number;
  /** The mean of bits that was reached, and how many linears have each width; null: not chosen by Quantloom. */
  readonly widths: { readonly averageBits: number; readonly linearsByBits: Readonly<Record<string, number>> } | null;
  readonly perplexity: { readonly original: number | null; readonly quantized: number } | null;
  readonly meanRelativeError: number | null;
  readonly meanRelativeErrorBeforeRefinement: number | null;
  /** Steps that computed, and that found their result in the store. */
  readonly computed: number;
  readonly cached: number;
  /** Seconds of computing that the cached steps took when they were computed. */
  readonly secondsSaved: number;
  readonly seconds: number;
}
