import {
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { Effort } from '../activities';
import type { JobPhase, Progress } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { rootFailure } from './fail-at-once';
import { JobBoard } from './job-board';
import { Operator, type StandingOrders } from './operator';

/** A running job: its board, its operator, and how its steps are run. */
export interface Job {
  readonly board: JobBoard;
  readonly operator: Operator;
  /** Enters a phase and runs its step; when its retries are exhausted, the operator decides. */
  step<Result extends object>(phase: JobPhase, work: () => Promise<Result>): Promise<Result>;
}

/** Runs a job's recipe; when it is cancelled, cleans up behind it. */
export async function runJob<Result>(
  carried: { readonly progress: Progress; readonly orders: StandingOrders } | undefined,
  recipe: (job: Job) => Promise<Result>,
): Promise<Result> {
  const board = new JobBoard(carried?.progress);
  const operator = new Operator(board, carried?.orders);
  const job: Job = {
    board,
    operator,
    async step(phase, work) {
      board.entered(phase);
      const result = await operator.reviewed(phase, null, work);
      for (const effort of Array.isArray(result) ? result : [result]) if (isEffort(effort)) board.counted(effort);
      return result;
    },
  };
  try {
    return await recipe(job);
  } catch (error) {
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => cleanUp(job));
    else if (error instanceof TemporalFailure) board.failed(rootFailure(error).message);
    throw error;
  } finally {
    operator.dismiss();
    await CancellationScope.nonCancellable(() => condition(allHandlersFinished));
  }
}

function isEffort(result: object): result is Effort {
  return 'cached' in result && typeof result.cached === 'boolean';
}

/** A cancelled job leaves nothing half-written behind; what it finished stays in the store until it is collected. */
async function cleanUp({ board }: Job): Promise<void> {
  const { output } = board.progress;
  board.cancelled();
  if (output !== '') await onCpu('clean up').discardCheckpoints({ output, job: workflowInfo().workflowId });
}
