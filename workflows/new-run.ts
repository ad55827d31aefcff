import { makeContinueAsNewFunc, type Workflow, workflowInfo } from '@temporalio/workflow';

/** Whether a job should go on as a new run: its history has grown long, or newer workers have come than those it began with. */
export function timeForNewRun(): boolean {
  const { continueAsNewSuggested, targetWorkerDeploymentVersionChanged } = workflowInfo();
  return continueAsNewSuggested || targetWorkerDeploymentVersionChanged;
}

/** Goes on as a new run; with newer workers, where they have come. */
export function goOnAsNewRun<F extends Workflow>(...args: Parameters<F>): Promise<never> {
  const newer = workflowInfo().targetWorkerDeploymentVersionChanged;
  if (!newer) return makeContinueAsNewFunc<F>({})(...args);
  return makeContinueAsNewFunc<F>({ initialVersioningBehavior: 'AUTO_UPGRADE' })(...nearNobody(args));
}

/** Workers that have activations at hand are of the version that made them; what comes now is not for them. */
function nearNobody<T>(value: T): T {
  const text = JSON.stringify(value, (name, part: unknown) => (name === 'near' ? undefined : part));
  return JSON.parse(text) as T;
}
