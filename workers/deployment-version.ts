import { QuantloomError } from '../engine/spec';

/** Which build of which worker deployment a worker is. */
export interface DeploymentVersion {
  readonly deploymentName: string;
  readonly buildId: string;
}

/** The variables are those that Temporal's worker controller sets on Kubernetes. @throws QuantloomError WrongUse naming the variable. */
export function readVersion(environment: Readonly<Record<string, string | undefined>>): DeploymentVersion | null {
  const { TEMPORAL_DEPLOYMENT_NAME: deploymentName, TEMPORAL_WORKER_BUILD_ID: buildId } = environment;
  if (!deploymentName && !buildId) return null;
  if (deploymentName && buildId) return { deploymentName, buildId };
  const [given, missing] = deploymentName
    ? ['TEMPORAL_DEPLOYMENT_NAME (--deployment)', 'TEMPORAL_WORKER_BUILD_ID (--build-id)']
    : ['TEMPORAL_WORKER_BUILD_ID (--build-id)', 'TEMPORAL_DEPLOYMENT_NAME (--deployment)'];
  throw new QuantloomError('WrongUse', `${given} is set, and ${missing} is not; a version is both, or neither`);
}
