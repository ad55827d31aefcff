import { makeContinueAsNewFunc, type Workflow, workflowInfo } from '@temporalio/workflow';

/** Whether a job should go on as a new run: its history has grown long, or newer workers have come than those it began with. */
export function timeForNewRun(): boolean {
  const { continueAsNewSuggested, targetWorkerDeploymentVersionChanged } = workflowInfo();
  return continueAsNewSuggested || targetWorkerDeploymentVersionChanged;
}

/** Goes on as a new run; with newer workers, where they have come. */
export function goOnAsNewRun<F extends Workflow>(...args: Parameters<F>): Promise<never> {
  const newer = workflowInfo().targetWorkerDeploymentVersionChanged;
  const versioning = newer ? ({ initialVersioningBehavior: 'AUTO_UPGRADE' } as const) : {};
  return makeContinueAsNewFunc<F>(versioning)(...args);
}
