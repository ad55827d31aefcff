import type { Client, ScheduleExecutionResult } from '@temporalio/client';
import type { RequantizeOutcome } from '../engine/spec';
import { jobState } from './job-state';

/** A run of a schedule. */
export interface ScheduleRun {
  readonly id: string;
  readonly started: string;
  /** Of the workflow; `gone` when the server has forgotten it. */
  readonly state: string;
  /** null: not there yet, or never. */
  readonly outcome: RequantizeOutcome | null;
  readonly reason: string | null;
}

/** What became of the last runs, newest first. */
export function lastRuns(client: Client, actions: readonly ScheduleExecutionResult[], most: number) {
  return Promise.all(
    actions
      .slice(-most)
      .reverse()
      .map((action) => runOf(client, action)),
  );
}

async function runOf(client: Client, { action, takenAt }: ScheduleExecutionResult): Promise<ScheduleRun> {
  const { workflowId: id, firstExecutionRunId } = action.workflow;
  const started = takenAt.toISOString();
  const found = await client.workflow
    .getHandle(id, firstExecutionRunId)
    .describe()
    .catch(() => null);
  if (found === null) return { id, started, state: 'gone', outcome: null, reason: null };
  const { status, searchAttributes, memo } = found;
  return {
    ...{ id, started, state: jobState(status.name, { needsReview: false }) },
    outcome: (searchAttributes.QuantloomOutcome?.[0] as RequantizeOutcome | undefined) ?? null,
    reason: (memo?.reason as string | undefined) ?? null,
  };
}

/** For people: `promoted`, else how the run ended. */
export function outcomeText({ outcome, state }: Pick<ScheduleRun, 'outcome' | 'state'>): string {
  return outcome ?? state;
}
