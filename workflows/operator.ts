import {
  ActivityFailure,
  ApplicationFailure,
  type CancellationScope,
  ChildWorkflowFailure,
  type ChildWorkflowHandle,
  condition,
  defineQuery,
  defineUpdate,
  isCancellation,
  setHandler,
  type Workflow,
} from '@temporalio/workflow';
import type { Progress } from '../engine/spec';
import { PROGRESS_QUERY, UPDATES } from '../engine/spec/job';
import { rootFailure } from './fail-at-once';
import type { JobBoard } from './job-board';
import { setPaused } from './layer-hands';

export const progress = defineQuery<Progress>(PROGRESS_QUERY);
export const pause = defineUpdate<Progress>(UPDATES.pause);
export const resume = defineUpdate<Progress>(UPDATES.resume);
export const cancel = defineUpdate<Progress>(UPDATES.cancel);
export const retryLayer = defineUpdate<Progress, [LayerChoice?]>(UPDATES.retryLayer);
export const skipLayer = defineUpdate<Progress, [LayerChoice?]>(UPDATES.skipLayer);
export const setConcurrency = defineUpdate<Progress, [{ layers: number }]>(UPDATES.setConcurrency);

export interface LayerChoice {
  readonly layer?: number;
}

/** What the operator decided about a step that failed. */
type Decision = 'retry' | 'skip';

/** The person at the job's doors: pauses, resumes, cancels it, and decides what becomes of a step that failed for good. */
export class Operator {
  private decision: Decision | null = null;
  private layersAtOnce = 1;
  private readonly layers = new Set<ChildWorkflowHandle<Workflow>>();
  private readonly skipped = new Set<number>();

  constructor(
    private readonly board: JobBoard,
    scope: CancellationScope,
  ) {
    setHandler(progress, () => board.progress);
    setHandler(pause, () => this.setPaused(true), {
      validator: () => this.refuse(board.progress.paused, 'The job is paused already'),
    });
    setHandler(resume, () => this.setPaused(false), {
      validator: () => this.refuse(!board.progress.paused, 'The job is not paused'),
    });
    setHandler(cancel, () => {
      scope.cancel();
      return board.progress;
    });
    setHandler(retryLayer, () => this.decide('retry'), {
      validator: (choice?: LayerChoice) => this.checkReview('retry', choice),
    });
    setHandler(skipLayer, (choice?: LayerChoice) => this.skip(choice), {
      validator: (choice?: LayerChoice) => this.checkSkip(choice),
    });
    setHandler(setConcurrency, ({ layers }) => this.setLayersAtOnce(layers), {
      validator: ({ layers }) =>
        this.refuse(
          !Number.isInteger(layers) || layers < 1 || layers > 200,
          `layers is ${layers}; it must be a whole number from 1 to 200`,
        ),
    });
  }

  /** How many layers may be solved at the same time. */
  get concurrency(): number {
    return this.layersAtOnce;
  }

  setLayersAtOnce(layers: number): Progress {
    this.layersAtOnce = layers;
    return this.board.progress;
  }

  /** Waits while the job is paused. */
  async gate(): Promise<void> {
    await condition(() => !this.board.progress.paused);
  }

  skips(layer: number): boolean {
    return this.skipped.has(layer);
  }

  /** Tells a running layer of pauses, until it is done. */
  async attend<Result>(layer: ChildWorkflowHandle<Workflow>): Promise<Result> {
    this.layers.add(layer);
    try {
      return (await layer.result()) as Result;
    } finally {
      this.layers.delete(layer);
    }
  }

  /** Runs a step; when its retries are exhausted, waits for the operator's decision and runs it again. */
  async reviewed<Result>(step: string, layer: number | null, work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      await this.gate();
      try {
        return await work();
      } catch (error) {
        const byActivity = error instanceof ActivityFailure || error instanceof ChildWorkflowFailure;
        if (!byActivity || isCancellation(error)) throw error;
        this.decision = null;
        this.board.needsReview({ step, layer, error: rootFailure(error).message });
        await condition(() => this.decision !== null);
        this.board.reviewed();
      }
    }
  }

  private async setPaused(value: boolean): Promise<Progress> {
    this.board.paused(value);
    const signals = [...this.layers].map((layer) => layer.signal(setPaused, value).catch(() => undefined));
    await Promise.all(signals);
    return this.board.progress;
  }

  private decide(decision: Decision): Progress {
    this.decision = decision;
    return this.board.progress;
  }

  private skip(choice: LayerChoice = {}): Progress {
    const review = this.board.progress.needsReview;
    const layer = choice.layer ?? review?.layer;
    this.skipped.add(layer as number);
    return review?.layer === layer ? this.decide('skip') : this.board.progress;
  }

  private checkReview(what: string, choice: LayerChoice = {}): void {
    const review = this.board.progress.needsReview;
    if (!review) throw refusal(`Nothing to ${what}: no step of this job needs review`);
    if (choice.layer !== undefined && choice.layer !== review.layer) {
      throw refusal(`Layer ${choice.layer} does not need review; ${review.step} does`);
    }
  }

  private checkSkip(choice: LayerChoice = {}): void {
    if (choice.layer === undefined) {
      this.checkReview('skip', choice);
      if (this.board.progress.needsReview?.layer === null)
        throw refusal('The step that needs review is not a layer; only layers can be skipped');
      return;
    }
    const layer = this.board.progress.layers[choice.layer];
    if (!layer)
      throw refusal(
        `There is no layer ${choice.layer}; the job has ${this.board.progress.layers.length}, counted from 0`,
      );
    if (layer.state !== 'waiting' && layer.state !== 'needs-review') {
      throw refusal(`Layer ${choice.layer} is ${layer.state}; only a layer that waits or needs review can be skipped`);
    }
  }

  private refuse(condition: boolean, message: string): void {
    if (condition) throw refusal(message);
  }
}

function refusal(message: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(message, 'Refused');
}
