import type { Block, ModelShape } from '../models/architecture';
import { needsCalibration } from '../quantizers';
import type { ModelPlan, QuantizationSpec } from '../spec';
import { type Findings, listed } from './findings';

/** An activity is handed a reference to each of a layer's linears: of all that start at once, so many fit into a message of Temporal's. */
const MOST_REFERENCES = 14_000;

/** Says what a mixture of experts keeps as it is, and which experts may starve; refuses more slices than can be started at once. */
export function checkExperts(
  spec: QuantizationSpec,
  plan: ModelPlan,
  { shape, blocks }: { readonly shape: ModelShape; readonly blocks: readonly Block[] },
  findings: Findings,
): void {
  const { allExperts, samples, sequenceLength, sliceTokens } = spec.calibration;
  const { experts, hiddenSize } = shape;
  if (!experts) {
    if (allExperts) findings.warn('allExperts is left out: this model has no experts.');
    return;
  }
  const { count, perToken, intermediateSize } = experts;
  const routers = blocks.flatMap(({ stages }) =>
    stages.flatMap(({ parameters }) => ['router', 'shared-router'].flatMap((role) => parameters[role] ?? [])),
  );
  findings.warn(`Routers are never quantized: ${listed(routers, 2)} stay as they are.`);
  const linears = plan.blocks.flatMap(({ stages }) =>
    stages.flatMap((stage) => stage.linears.filter(({ expert }) => expert !== undefined)),
  );
  if (!linears.some(needsCalibration)) return;
  const tokens = samples * sequenceLength;
  if (allExperts) {
    findings.warn(
      `Every token calibrates all ${count} experts of a layer, of which it passes ${perToken}: as many times the work.`,
    );
  } else {
    const perExpert = Math.floor((tokens * perToken) / count);
    const columns = Math.max(hiddenSize, intermediateSize);
    if (perExpert < 4 * columns) {
      findings.warn(
        `An expert sees about ${perExpert} of the ${tokens} calibration tokens, some see fewer, and its linears have up to ${columns} columns: with fewer ` +
          'tokens than columns the damping grows, and without any a linear is rounded to nearest (manifest: tokens, rung). Ask for more samples, or for ' +
          'allExperts (--all-experts).',
      );
    }
  }
  if ((spec.recipe.mismatch ?? 0) > 0 && spec.order === 'stage') {
    findings.warn('mismatch is left out for experts: what each adds is weighed, token by token.');
  }
  // Order `layer` hands all linears of a layer on, the others those of a stage.
  const references = (spec.order === 'layer' ? 3 : 2) * count;
  if (plan.slices.length * references > MOST_REFERENCES) {
    const most = Math.floor(MOST_REFERENCES / references);
    findings.refuse(
      'PlanRefused',
      'calibration.sliceTokens',
      `${sliceTokens} tokens a slice make ${plan.slices.length} slices; with ${count} experts a layer there can be ${most}. Make it ${Math.ceil(tokens / most)} or more.`,
    );
  }
}
