import { planModel } from '../engine/planning';
import { type ModelPlan, type QuantizationSpec, QuantloomError } from '../engine/spec';
import { storeDirectoryOf } from '../engine/store';
import type { Settings } from './settings';

/**
 * Refuses a job that could not run, before anything is started. Only where workers see the same disk as this process.
 *
 * @throws QuantloomError PlanRefused with every reason; UnsupportedInput, InvalidModel.
 */
export async function refuseByPlan(
  spec: QuantizationSpec,
  { store, sources }: Settings,
  signal: AbortSignal,
): Promise<ModelPlan> {
  const { plan, estimate } = await planModel(spec, { storeDirectory: storeDirectoryOf(store), sources, signal });
  if (estimate.refusals.length === 0) return plan;
  const reasons = estimate.refusals.map(({ where, message }) => `${where}: ${message}`);
  throw new QuantloomError('PlanRefused', reasons.join(' '), { details: { refusals: estimate.refusals } });
}
