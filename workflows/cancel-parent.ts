import { getExternalWorkflowHandle, type ParentWorkflowInfo, workflowInfo } from '@temporalio/workflow';

/** Asks for the cancellation of the job that started this workflow: Temporal lets no workflow ask for its own. */
export async function cancelParent(): Promise<void> {
  const { workflowId } = workflowInfo().parent as ParentWorkflowInfo;
  await getExternalWorkflowHandle(workflowId).cancel();
}
