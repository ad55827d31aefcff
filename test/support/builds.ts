import type { JobStack } from './job-stack';
import { until } from './until';

const DEPLOYMENT = 'quantloom';

/** Of a worker that is one of a build. */
export function buildEnvironment(buildId: string): Record<string, string> {
  return { TEMPORAL_DEPLOYMENT_NAME: DEPLOYMENT, TEMPORAL_WORKER_BUILD_ID: buildId };
}

/** New jobs are from now on for the workers of this build. */
export async function makeCurrent({ client }: JobStack, buildId: string): Promise<void> {
  const { workflowService, options } = client;
  const request = { namespace: options.namespace, deploymentName: DEPLOYMENT, buildId, identity: 'test' };
  // The server knows of a build once its workers have polled.
  await until(() =>
    workflowService.setWorkerDeploymentCurrentVersion(request).then(
      () => true,
      () => false,
    ),
  );
}
