import type { WorkflowHandle } from '@temporalio/client';
import type { Priority } from '@temporalio/common';
import { type QuantizationSpec, TASK_QUEUES, WORKFLOWS } from '../engine/spec';
import type { Session } from './session';
import { workflowIdOf } from './workflow-id';

export interface StartedJob {
  readonly id: string;
  readonly handle: WorkflowHandle;
  /** It was running already; this command follows it. */
  readonly joined: boolean;
  readonly uiPage: string | null;
}

/**
 * Starts the job of a spec, or joins it when it is running. A job that has ended starts anew under the same id: what it computed
 * is found in the store.
 *
 * @param priority which jobs workers take first; a job that is running keeps the one it was started with.
 */
export async function startJob(session: Session, spec: QuantizationSpec, priority: Priority = {}): Promise<StartedJob> {
  const id = workflowIdOf(spec);
  const { workflow } = session.client;
  const joined = await isJobRunning(session, id);
  const handle = await workflow.start(WORKFLOWS.quantizeModel, {
    workflowId: id,
    taskQueue: TASK_QUEUES.control,
    args: [spec],
    priority,
    workflowIdConflictPolicy: 'USE_EXISTING',
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
  });
  return { id, handle, joined, uiPage: session.uiPage(id, handle.firstExecutionRunId) };
}

export async function isJobRunning(session: Session, id: string): Promise<boolean> {
  return session.client.workflow
    .getHandle(id)
    .describe()
    .then(
      ({ status }) => status.name === 'RUNNING',
      () => false,
    );
}
