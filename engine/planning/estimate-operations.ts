import { calibratingStage } from '../models';
import { factorizes, needsHessian } from '../quantizers';
import type { LinearPlan } from '../spec';
import { forwardOperations, gramMultiplications } from './stage-operations';
import { calibrationTokens, hasMismatch, passesOriginal, scaledGroups, total, type WorkToDo } from './work-to-do';

/**
 * Floating-point operations of the whole job (an addition and a multiplication are two), evaluation included:
 * - forward: 2 · rows · columns per token and linear; attention 4 · heads · headSize · sequenceLength per token and layer, of which
 *   the causal half is done. Order `layer` runs everything twice but what the first stage applies;
 * - XᵀX: 2 · columns² per token and captured input;
 * - a mismatch: on `originalShare` of the tokens the forward pass of the original, and for every linear that has one 4 · rows · columns (W x
 *   and e xᵀ); to solve for it 3 · rows · columns². Where these are not all tokens, 2 · columns² (XᵀX) and one more factorization;
 * - factorization: 4/3 · columns³ (Cholesky, inverse, Cholesky) per Hessian;
 * - GPTQ: rows · columns² per linear (Frantar et al. 2022, section 3.3); each refinement 2 · rows · columns²; learned rounding as much, and
 *   again for every 100 steps, in which a code moves about once;
 * - scaling channels: the calibration of the original, and for each of awq's 40 candidates rows · columns² for at most some 512 rows of a group;
 * - choosing widths: GPTQ at each of them, and the calibration of the original model, but in order `independent`.
 */
export function estimateOperations(work: WorkToDo): number {
  return calibration(work) + scaling(work) + solving(work) + evaluation(work);
}

function calibration(work: WorkToDo): number {
  const { plan, blocks, shape, spec } = work;
  const tokens = calibrationTokens(work);
  if (tokens === 0) return 0;
  const { originalShare } = spec.calibration;
  const again = spec.order === 'layer' ? 1 : 0;
  // To choose widths, and to scale channels, everything once more.
  const measured =
    (spec.averageBits !== null && spec.order !== 'independent' ? 1 : 0) + (spec.scaling === 'none' ? 0 : 1);
  const stages = blocks.flatMap((block, b) =>
    block.stages.map((stage, s) => ({
      stage,
      passes: (s === 0 ? 1 : 1 + again) + measured + (passesOriginal({ index: b }, work) ? originalShare : 0),
      plan: plan.blocks[b]?.stages[s],
    })),
  );
  const forward = stages.map(({ stage, passes }) => {
    const calibrating = calibratingStage(stage, spec.calibration);
    const place = { shape, sequenceLength: spec.calibration.sequenceLength };
    return forwardOperations(stage, calibrating, place) * tokens * passes;
  });
  const grams = stages.map(({ stage, plan: { linears = [] } = {} }) =>
    linears.some(needsHessian)
      ? 2 * gramMultiplications(calibratingStage(stage, spec.calibration), shape) * tokens * (1 + measured)
      : 0,
  );
  const apart = originalShare < 1 ? 1 : 0;
  const mismatches = plan.blocks.flatMap(({ stages }) =>
    stages
      .filter(hasMismatch)
      .map(({ linears }) =>
        total(linears.map(({ rows, columns }) => (4 * rows + 2 * apart * columns) * columns * tokens * originalShare)),
      ),
  );
  return total(forward) + total(grams) + total(mismatches);
}

function scaling(work: WorkToDo): number {
  if (work.spec.scaling !== 'awq') return 0;
  return total(
    scaledGroups(work)
      .flat()
      .map(({ linears }) => {
        const rows = Math.min(512, total(linears.map((linear) => linear.rows)));
        return 40 * 2 * rows * (linears[0]?.columns ?? 0) ** 2;
      }),
  );
}

function solving({ plan, spec }: WorkToDo): number {
  const widths = spec.averageBits === null ? 0 : spec.mixedWidths.length;
  const apart = spec.calibration.originalShare < 1;
  const stages = plan.blocks.flatMap((block) => block.stages.map(({ linears }) => linears.filter(isSolved)));
  return total(
    stages.flatMap((linears) => [
      linears[0] === undefined
        ? 0
        : (4 / 3) *
          linears[0].columns ** 3 *
          new Set(linears.map(({ expert }) => expert)).size *
          (apart && linears.some(({ recipe }) => recipe?.mismatch) ? 2 : 1),
      ...linears.map(({ rows, columns, recipe }) => (recipe?.mismatch ? 3 * rows * columns ** 2 : 0)),
      ...linears.map(
        ({ rows, columns, recipe }) =>
          rows * columns ** 2 * (1 + widths + 2 * ((recipe?.refinements ?? 0) + learning(recipe?.learnedRounding))),
      ),
    ]),
  );
}

/** In refinements. */
function learning(steps = 0): number {
  return steps === 0 ? 0 : 1 + steps / 100;
}

function evaluation({ spec, plan, architecture, shape }: WorkToDo): number {
  if (spec.evaluation === null) return 0;
  const { maxTokens, original, context } = spec.evaluation;
  const matrices = Object.values(plan.tensors).filter(
    ({ name, shape: size }) => size.length === 2 && name !== architecture.embedding && name !== architecture.positions,
  );
  const tiedHead = shape.tiedHead ? shape.vocabularySize * shape.hiddenSize : 0;
  const weights = total(matrices.map((tensor) => (tensor.shape[0] as number) * (tensor.shape[1] as number))) + tiedHead;
  const attention = 2 * shape.layers * shape.heads * shape.headSize * context;
  return (2 * weights + attention) * maxTokens * (original ? 2 : 1);
}

function isSolved({ recipe }: LinearPlan): boolean {
  return recipe !== null && factorizes(recipe);
}
