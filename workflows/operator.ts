import {
  ActivityFailure,
  CancellationScope,
  ChildWorkflowFailure,
  type ChildWorkflowHandle,
  condition,
  defineQuery,
  defineUpdate,
  executeChild,
  getExternalWorkflowHandle,
  setHandler,
  type Workflow,
  workflowInfo,
} from '@temporalio/workflow';
import type { Progress, ReviewNeeded } from '../engine/spec';
import { PROGRESS_QUERY, UPDATES } from '../engine/spec/job';
import { NEEDS_REVIEW_SIGNAL } from '../engine/spec/requantize';
import { cancelParent } from './cancel-parent';
import { rootFailure } from './fail-at-once';
import type { JobBoard } from './job-board';
import { setPaused } from './layer-hands';
import { type LayerChoice, layerOf, OrderChecks } from './order-checks';

export const progress = defineQuery<Progress>(PROGRESS_QUERY);
export const pause = defineUpdate<Progress>(UPDATES.pause);
export const resume = defineUpdate<Progress>(UPDATES.resume);
export const cancel = defineUpdate<Progress>(UPDATES.cancel);
export const retryLayer = defineUpdate<Progress, [LayerChoice?]>(UPDATES.retryLayer);
export const skipLayer = defineUpdate<Progress, [LayerChoice?]>(UPDATES.skipLayer);
export const setConcurrency = defineUpdate<Progress, [{ layers: number }]>(UPDATES.setConcurrency);

/** What the operator has ordered for later: a job that continues as new takes it along. */
export interface StandingOrders {
  /** Indices of layers to keep in 16 bit. */
  readonly skipped: readonly number[];
  /** How many layers may be solved at the same time; null: one after another. */
  readonly layersAtOnce: number | null;
}

/** The person at the job's doors: pauses, resumes, cancels it, and decides what becomes of a step that failed for good. */
export class Operator {
  private readonly layers = new Set<ChildWorkflowHandle<Workflow>>();
  private readonly skipped: Set<number>;
  private layersAtOnce: number | null;
  private cancelling = false;
  private jobEnded = false;

  constructor(
    private readonly board: JobBoard,
    { skipped, layersAtOnce }: StandingOrders = { skipped: [], layersAtOnce: null },
  ) {
    this.skipped = new Set(skipped);
    this.layersAtOnce = layersAtOnce;
    const checks = new OrderChecks(board);
    setHandler(progress, () => board.progress);
    setHandler(pause, () => this.setPaused(true), { validator: () => checks.pause() });
    setHandler(resume, () => this.setPaused(false), { validator: () => checks.resume() });
    setHandler(cancel, () => this.cancel(), { validator: () => checks.cancel(this.cancelling) });
    setHandler(retryLayer, (choice?: LayerChoice) => this.decide(layerOf(choice)), {
      validator: (choice?: LayerChoice) => checks.retry(choice),
    });
    setHandler(skipLayer, (choice?: LayerChoice) => this.skip(layerOf(choice)), {
      validator: (choice?: LayerChoice) => checks.skip(choice),
    });
    setHandler(setConcurrency, ({ layers }) => this.allowAtOnce(layers), {
      validator: (wish) => checks.concurrency(wish, this.layersAtOnce),
    });
  }

  get orders(): StandingOrders {
    return { skipped: [...this.skipped], layersAtOnce: this.layersAtOnce };
  }

  /** How many layers may be solved at the same time. */
  get concurrency(): number {
    return this.layersAtOnce ?? 1;
  }

  /** From now on layers are solved side by side: as many at once as this, unless the operator has said otherwise. */
  expectSideBySide(layers: number): void {
    this.layersAtOnce ??= layers;
  }

  skips(layer: number): boolean {
    return this.skipped.has(layer);
  }

  /** Tells a running layer of pauses, until it is done. */
  async attend<Result>(layer: ChildWorkflowHandle<Workflow>): Promise<Result> {
    this.layers.add(layer);
    try {
      // The pause may have come while the layer was being started.
      if (this.board.progress.paused) await tell(layer, true);
      return (await layer.result()) as Result;
    } finally {
      this.layers.delete(layer);
    }
  }

  /** Runs a step, unless the job is paused; when its retries are exhausted, waits for the operator and runs it again. */
  async reviewed<Result>(step: string, layer: number | null, work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      await condition(() => !this.board.progress.paused);
      try {
        return await work();
      } catch (error) {
        const failedForGood = error instanceof ActivityFailure || error instanceof ChildWorkflowFailure;
        if (!failedForGood || CancellationScope.current().consideredCancelled) throw error;
        tellParent(step, rootFailure(error).message);
        await this.board.reviewed({ step, layer, error: rootFailure(error).message });
      }
    }
  }

  /** Lets those who wait for the end of the job go. */
  dismiss(): void {
    this.jobEnded = true;
  }

  private async setPaused(value: boolean): Promise<Progress> {
    this.board.paused(value);
    await Promise.all([...this.layers].map((layer) => tell(layer, value)));
    return this.board.progress;
  }

  /** Answers when everything has ended and is cleaned up. */
  private async cancel(): Promise<Progress> {
    this.cancelling = true;
    await CancellationScope.nonCancellable(async () => {
      await executeChild(cancelParent, { workflowId: `${workflowInfo().workflowId}/cancel` });
      await condition(() => this.jobEnded);
    });
    return this.board.progress;
  }

  private decide(layer: number | undefined): Progress {
    for (const review of this.board.reviews) if (layer === undefined || review.layer === layer) review.decided = true;
    return this.board.progress;
  }

  private skip(choice: number | undefined): Progress {
    const layer = choice ?? (this.board.progress.needsReview?.layer as number);
    this.skipped.add(layer);
    return this.decide(layer);
  }

  private allowAtOnce(layers: number): Progress {
    this.layersAtOnce = layers;
    return this.board.progress;
  }
}

/** A layer that has just ended needs not be told. */
function tell(layer: ChildWorkflowHandle<Workflow>, paused: boolean): Promise<void> {
  return layer.signal(setPaused, paused).catch(() => undefined);
}

/** A job that a schedule started has somebody who passes it on. Nobody there: nobody to tell. */
function tellParent(step: string, error: string): void {
  const { parent, workflowId } = workflowInfo();
  if (!parent) return;
  getExternalWorkflowHandle(parent.workflowId)
    .signal<[ReviewNeeded]>(NEEDS_REVIEW_SIGNAL, { job: workflowId, step, error })
    .catch(() => undefined);
}
