import { type SignedReport, weightSha256 } from '../checkpoints';
import type { Block, Stage } from '../models/architecture';
import { mergeHessians, prepareHessian, type QuantizedLinear, quantizeLinear } from '../quantizers';
import type { BlockPlan, QuantizationSpec, StagePlan } from '../spec';
import type { Activations, DirectModel, QuantizedLinears } from './direct-model';

/** Where the chain of blocks stands. */
export interface Chain {
  /** By slice. */
  readonly activations: readonly Activations[];
  /** The linears of the block before, which the next first stage applies. */
  readonly applied: QuantizedLinears;
}

export interface QuantizedBlock extends Chain {
  readonly quantized: QuantizedLinears;
  readonly reports: readonly SignedReport[];
  readonly calibrationTokens: number;
}

interface Settings {
  readonly order: QuantizationSpec['order'];
  readonly minimumZero: 0 | 1;
  readonly threads: number;
}

export type Hessian = Float32Array | null;
type Captured = { readonly activations: readonly Activations[]; readonly hessian: Hessian; readonly tokens: number };

/** One stage on every slice, and the Hessian of the captured input, when it is asked for. */
export async function runSlices(
  model: DirectModel,
  stage: Stage,
  slices: readonly Activations[],
  weights: QuantizedLinears,
  gram: boolean,
): Promise<Captured> {
  const activations: Activations[] = [];
  const parts: { gram: Float32Array; tokens: number }[] = [];
  for (const slice of slices) {
    const result = await model.runStage(stage, slice, weights, gram);
    activations.push(result.activations);
    if (result.gram) parts.push({ gram: result.gram, tokens: result.tokens });
  }
  if (parts.length === 0) return { activations, hessian: null, tokens: 0 };
  const { hessian, tokens } = await mergeHessians(parts);
  return { activations, hessian: Float32Array.from(hessian), tokens };
}

/** Quantizes one block in memory: the same order of work as the workflow `quantizeLayer`, written for one process. */
export async function quantizeBlock(
  model: DirectModel,
  plan: BlockPlan,
  chain: Chain,
  { order, minimumZero, threads }: Settings,
): Promise<QuantizedBlock> {
  const { stages } = model.blocks[plan.index] as Block;
  const quantized = new Map<string, QuantizedLinear>();
  const reports: SignedReport[] = [];
  let calibrationTokens = 0;

  const run = async (
    stage: Stage,
    slices: readonly Activations[],
    weights: QuantizedLinears,
    gram: boolean,
  ): Promise<Captured> => {
    const captured = await runSlices(model, stage, slices, weights, gram);
    if (captured.hessian) calibrationTokens = captured.tokens;
    return captured;
  };

  const solve = async ({ linears }: StagePlan, hessian: Hessian): Promise<QuantizedLinears> => {
    const solved = new Map<string, QuantizedLinear>();
    const prepared = hessian ? await prepareHessian(hessian) : null;
    for (const { name, recipe, rows, columns } of linears) {
      if (!recipe) continue;
      const weight = (await model.weight(name)).data;
      const given = recipe.method === 'gptq' ? prepared : null;
      const result = await quantizeLinear({
        weight,
        rows,
        columns,
        hessian: given,
        recipe,
        minimumZero,
        name,
        threads,
      });
      solved.set(name, result.linear);
      quantized.set(name, result.linear);
      reports.push({ name, recipe, ...result.report, weightSha256: weightSha256(result.linear) });
    }
    return solved;
  };

  let { activations, applied } = chain;
  if (activations.length === 0) {
    for (const stage of plan.stages) await solve(stage, null);
  } else if (order === 'stage') {
    for (const [position, stage] of stages.entries()) {
      const stagePlan = plan.stages[position] as StagePlan;
      const captured = await run(stage, activations, applied, needsHessian(stagePlan));
      applied = await solve(stagePlan, captured.hessian);
      activations = captured.activations;
    }
  } else {
    const hessians: Hessian[] = [];
    let original = activations;
    for (const [position, stage] of stages.entries()) {
      const captured = await run(
        stage,
        original,
        position === 0 ? applied : new Map(),
        needsHessian(plan.stages[position] as StagePlan),
      );
      original = captured.activations;
      if (position === 0) activations = original;
      hessians.push(captured.hessian);
    }
    for (const [position, stage] of plan.stages.entries()) await solve(stage, hessians[position] as Hessian);
    if (order === 'independent') {
      activations = original;
    } else {
      for (const stage of stages.slice(1)) activations = (await run(stage, activations, quantized, false)).activations;
      applied = quantized;
    }
  }
  return { activations, applied, quantized, reports, calibrationTokens };
}

export function needsHessian({ linears }: StagePlan): boolean {
  return linears.some(({ recipe }) => recipe?.method === 'gptq');
}
