import { CancellationScope, isCancellation, workflowInfo } from '@temporalio/workflow';
import type { Effort } from '../activities';
import type { JobPhase, Progress } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { JobBoard } from './job-board';
import { Operator } from './operator';

/** A running job: its board, its operator, and how its steps are run. */
export interface Job {
  readonly board: JobBoard;
  readonly operator: Operator;
  /** Enters a phase and runs its step; when its retries are exhausted, the operator decides. */
  step<Result extends object>(phase: JobPhase, work: () => Promise<Result>): Promise<Result>;
}

/** Runs a job's recipe; when it is cancelled, cleans up behind it. */
export async function runJob<Result>(
  carried: Progress | undefined,
  recipe: (job: Job) => Promise<Result>,
): Promise<Result> {
  const board = new JobBoard(carried);
  const scope = new CancellationScope({ cancellable: true });
  const operator = new Operator(board, scope);
  const job: Job = {
    board,
    operator,
    async step(phase, work) {
      board.entered(phase);
      const result = await operator.reviewed(phase, null, work);
      if (isEffort(result)) board.counted(result);
      return result;
    },
  };
  try {
    return await scope.run(() => recipe(job));
  } catch (error) {
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => cleanUp(job));
    throw error;
  }
}

function isEffort(result: object): result is Effort {
  return 'cached' in result && typeof result.cached === 'boolean';
}

/** A cancelled job leaves nothing half-written behind; what it finished stays in the store until it is collected. */
async function cleanUp({ board }: Job): Promise<void> {
  board.entered('cancelled');
  const { output } = board.progress;
  if (output !== '') await onCpu('clean up').discardCheckpoints({ output, job: workflowInfo().workflowId });
}
