import { ApplicationFailure } from '@temporalio/common';
import type { JobBoard } from './job-board';

/** The argument of `retryLayer` and `skipLayer`. */
export interface LayerChoice {
  /** Counted from 0. None: what needs review. */
  readonly layer?: number;
}

/** Refuses Updates that make no sense now, each with a message that says what would. */
export class OrderChecks {
  constructor(private readonly board: Pick<JobBoard, 'progress' | 'reviews'>) {}

  pause(): void {
    if (this.board.progress.paused) throw refusal('The job is paused already.');
  }

  resume(): void {
    if (!this.board.progress.paused) throw refusal('The job is not paused.');
  }

  cancel(cancelling: boolean): void {
    if (cancelling) throw refusal('The job is being cancelled already.');
  }

  retry(choice: unknown): void {
    const layer = layerOf(choice);
    const { reviews } = this.board;
    if (reviews.length === 0) throw refusal('There is nothing to try again: no step of this job needs review.');
    if (layer === undefined || reviews.some((review) => review.layer === layer)) return;
    throw refusal(`Layer ${layer} does not need review. What does: ${this.underReview()}.`);
  }

  skip(choice: unknown): void {
    const layer = layerOf(choice);
    if (layer === undefined) this.skipUnnamed();
    else this.skipNamed(layer);
  }

  concurrency(wish: unknown, now: number | null): void {
    const layers = wish !== null && typeof wish === 'object' && 'layers' in wish ? wish.layers : undefined;
    if (typeof layers !== 'number' || !Number.isInteger(layers) || layers < 1 || layers > 200) {
      throw refusal(`layers is ${JSON.stringify(layers)}; it must be a whole number from 1 to 200: {"layers": 4}.`);
    }
    if (now !== null) return;
    throw refusal(
      'Layers are not solved side by side now: only order `independent` and method `rtn` do that, once the phase is `quantizing`.',
    );
  }

  private skipUnnamed(): void {
    const { reviews } = this.board;
    if (reviews.length === 0) {
      throw refusal('No layer needs review. Name the layer to keep in 16 bit: {"layer": 3}.');
    }
    if (reviews.length > 1) throw refusal(`Several steps need review: ${this.underReview()}. Name the layer to skip.`);
    if (reviews[0]?.layer === null) {
      throw refusal(`What needs review, ${reviews[0].step}, is not a layer; only layers can be skipped.`);
    }
  }

  private skipNamed(layer: number): void {
    const { layers } = this.board.progress;
    if (layers.length === 0) throw refusal('The layers are not known yet: the model is still being inspected.');
    const state = layers[layer]?.state;
    if (state === undefined) {
      throw refusal(`There is no layer ${layer}; the job has ${layers.length}, counted from 0.`);
    }
    if (state !== 'waiting' && state !== 'needs-review') {
      throw refusal(`Layer ${layer} is ${state}; only a layer that waits or needs review can be skipped.`);
    }
  }

  private underReview(): string {
    return this.board.reviews.map(({ step }) => step).join(', ');
  }
}

/** The layer that an Update names; undefined: none. */
export function layerOf(choice: unknown): number | undefined {
  const { layer, ...others } = (choice ?? {}) as LayerChoice & Record<string, unknown>;
  const known = typeof (choice ?? {}) === 'object' && Object.keys(others).length === 0;
  if (known && (layer === undefined || layer === null)) return undefined;
  if (known && Number.isInteger(layer)) return layer;
  throw refusal(`The argument is ${JSON.stringify(choice)}; it must be {"layer": 3}, counted from 0, or be left out.`);
}

function refusal(message: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(message, 'Refused');
}
