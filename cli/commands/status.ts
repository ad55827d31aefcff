import type { Progress } from '../../engine/spec';
import type { CommandDefinition } from '../command';
import { EXIT, type ExitCode } from '../exit-codes';
import { queryProgress } from '../follow-job';
import { isWorkflowFailure, jobCallError, jobFailure } from '../job-failure';
import { reviewReport } from '../job-report';
import { jobState } from '../job-state';
import { progressBlock } from '../progress-view';
import { CONTROL_ONLY, openSession } from '../session';

/** Exit code: 0 running or done, 1 failed or cancelled, 3 needs review. */
export const status: CommandDefinition = {
  async run(invocation) {
    const { output } = invocation;
    const id = invocation.args[0] as string;
    const session = await openSession(invocation, { purpose: 'status', workers: CONTROL_ONLY });
    try {
      const handle = session.client.workflow.getHandle(id);
      const described = await handle.describe();
      const progress = await queryProgress(session, handle);
      const { needsReview } = progress;
      const state = jobState(described.status.name, { needsReview: needsReview !== null });
      const ended = state !== 'running' && state !== 'needs-review';
      const error = ended && state !== 'completed' && state !== 'cancelled' ? await failureOf(handle.result()) : null;
      const uiPage = session.uiPage(id, described.runId);
      const lines = [
        `${id}  ${state}`,
        ...progressBlock(progress, Number.POSITIVE_INFINITY),
        ...reviewLines(id, progress),
      ];
      if (error) lines.push(`error: ${error}`);
      if (uiPage) lines.push(`Temporal UI ${uiPage}`);
      output.result({ id, state, uiPage, error, progress }, lines.join('\n'));
      return exitCodeOfState(state);
    } catch (error) {
      throw jobCallError(error, id);
    } finally {
      await session.close();
    }
  },
};

function reviewLines(id: string, progress: Progress): string[] {
  return progress.needsReview ? [reviewReport(id, progress)] : [];
}

function exitCodeOfState(state: string): ExitCode {
  if (state === 'needs-review') return EXIT.needsReview;
  return state === 'running' || state === 'completed' ? EXIT.done : EXIT.failed;
}

async function failureOf(result: Promise<unknown>): Promise<string | null> {
  try {
    await result;
    return null;
  } catch (error) {
    if (!isWorkflowFailure(error)) throw error;
    return jobFailure(error).message;
  }
}
