import { TASK_QUEUES } from '../engine/spec';
import type { Session } from './session';

/** TaskQueueType of Temporal's API. */
const WORKFLOW_TASKS = 1;
const ACTIVITY_TASKS = 2;

/** The task queues that no worker polls. A worker that is gone counts for some minutes more. */
export async function queuesWithoutWorkers(session: Session): Promise<string[]> {
  const described = await Promise.all(
    Object.values(TASK_QUEUES).map(async (name) => {
      const { pollers } = await session.client.workflowService.describeTaskQueue({
        namespace: session.namespace,
        taskQueue: { name },
        taskQueueType: name === TASK_QUEUES.control ? WORKFLOW_TASKS : ACTIVITY_TASKS,
      });
      return { name, polled: (pollers?.length ?? 0) > 0 };
    }),
  );
  return described.filter(({ polled }) => !polled).map(({ name }) => name);
}
