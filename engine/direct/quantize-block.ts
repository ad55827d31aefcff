import { type SignedReport, weightSha256 } from '../checkpoints';
import { calibratingStage, inputsByLinear, type ResidualEnd, residualEnd } from '../models';
import type { Block, Stage } from '../models/architecture';
import {
  type Mismatch,
  mergeMagnitudes,
  mergeMismatches,
  needsHessian,
  needsMagnitudes,
  type PartialHessian,
  type PartialMismatch,
  type QuantizedLinear,
  quantizeLinear,
} from '../quantizers';
import type { BlockPlan, QuantizationSpec, StagePlan } from '../spec';
import type { Activations, DirectModel, QuantizedLinears, StageWishes } from './direct-model';
import { type Hessian, mergeInputs, withHessians } from './input-hessians';

/** Where the chain of blocks stands. */
export interface Chain {
  /** By slice. */
  readonly activations: readonly Activations[];
  /** The linears of the block before, which the next first stage applies. */
  readonly applied: QuantizedLinears;
  /** By slice: the original model behind the next block's first stage, while linears make up for what goes wrong upstream. */
  readonly original?: readonly Activations[];
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
  readonly calibration: Pick<QuantizationSpec['calibration'], 'allExperts'>;
}

interface Captured {
  readonly activations: readonly Activations[];
  /** By input, in the order of `capturedInputs`; none when not asked for. */
  readonly hessians: readonly Hessian[];
  /** The same of their largest magnitudes. */
  readonly magnitudes: readonly number[];
  readonly tokens: number;
  /** Of the linear after the stage; null when not asked for. */
  readonly mismatch: Mismatch | null;
}

const NOTHING = { hessians: [], magnitudes: [] };

/** As {@link StageWishes}, of all slices. */
interface SliceWishes extends Omit<StageWishes, 'original'> {
  readonly original?: { readonly end: ResidualEnd; readonly slices: readonly Activations[] } | null;
}

/** One stage on every slice, and the Hessian of the captured input, when it is asked for. */
export async function runSlices(
  model: DirectModel,
  stage: Stage,
  slices: readonly Activations[],
  { original, ...wishes }: SliceWishes,
): Promise<Captured> {
  const activations: Activations[] = [];
  const parts: PartialHessian[] = [];
  const magnitudes: (readonly number[])[] = [];
  const mismatches: PartialMismatch[] = [];
  for (const [i, slice] of slices.entries()) {
    const hidden = original?.slices[i]?.hidden;
    const behind = original && hidden && { end: original.end, hidden };
    const result = await model.runStage(stage, slice, { ...wishes, ...(behind && { original: behind }) });
    activations.push(result.activations);
    if (result.gram) parts.push({ gram: result.gram, tokens: result.tokens });
    if (result.magnitudes) magnitudes.push(result.magnitudes);
    if (result.mismatch) mismatches.push(result.mismatch);
  }
  const mismatch = mismatches.length > 0 ? await mergeMismatches(mismatches) : null;
  const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
  return {
    activations,
    hessians: await mergeInputs(parts, inputsByLinear(stage)),
    magnitudes: magnitudes.length > 0 ? mergeMagnitudes(magnitudes) : [],
    tokens,
    mismatch,
  };
}

/** Quantizes one block in memory: the same order of work as the workflow `quantizeLayer`, written for one process. */
export async function quantizeBlock(
  model: DirectModel,
  plan: BlockPlan,
  chain: Chain,
  { order, minimumZero, threads, calibration }: Settings,
): Promise<QuantizedBlock> {
  const { stages } = model.blocks[plan.index] as Block;
  const quantized = new Map<string, QuantizedLinear>();
  const reports: SignedReport[] = [];
  let calibrationTokens = 0;

  const run = async (stage: Stage, slices: readonly Activations[], wishes: SliceWishes): Promise<Captured> => {
    const calibrating = wishes.gram || wishes.magnitudes ? calibratingStage(stage, calibration) : stage;
    const captured = await runSlices(model, calibrating, slices, wishes);
    if (captured.hessians.length > 0) calibrationTokens = captured.tokens;
    return captured;
  };

  const solve = async (
    { stage, linears }: StagePlan,
    { hessians, magnitudes, mismatch = null }: Pick<Captured, 'hessians' | 'magnitudes'> & Partial<Captured>,
  ): Promise<QuantizedLinears> => {
    const solved = new Map<string, QuantizedLinear>();
    const own = stages.find(({ name }) => name === stage) as Stage;
    const inputs = inputsByLinear(calibratingStage(own, calibration));
    await withHessians(linears, { hessians, inputs }, async ({ name, recipe, rows, columns }, hessian) => {
      if (!recipe) return;
      const { data: weight, dtype } = await model.weight(name);
      const codes = recipe.method === 'stored' ? { stored: await model.storedCodes(name) } : {};
      const importance = recipe.importance === 'file' ? await model.importance(name) : undefined;
      const inputMagnitude = needsMagnitudes({ recipe }) ? magnitudes[inputs?.get(name) ?? 0] : undefined;
      const known = { ...(importance && { importance }), ...(inputMagnitude !== undefined && { inputMagnitude }) };
      const given = { ...hessian, ...codes, mismatch, ...known };
      const linear = { weight, rows, columns, ...given, recipe, minimumZero };
      const result = await quantizeLinear({ ...linear, dtype, name, threads });
      solved.set(name, result.linear);
      quantized.set(name, result.linear);
      reports.push({ name, recipe, ...result.report, weightSha256: weightSha256(result.linear) });
    });
    return solved;
  };

  /** One stage of the original model. */
  const runOriginal = async (stage: Stage, slices: readonly Activations[]) =>
    (await runSlices(model, stage, slices, { quantized: new Map(), gram: false })).activations;

  const makesUp = ({ linears }: StagePlan) => linears.some(({ recipe }) => recipe?.mismatch);

  let { activations, applied, original } = chain;
  if (activations.length === 0) {
    for (const stage of plan.stages) await solve(stage, NOTHING);
  } else if (order === 'stage') {
    for (const [position, stage] of stages.entries()) {
      const stagePlan = plan.stages[position] as StagePlan;
      const next = stages[position + 1] ?? model.blocks[plan.index + 1]?.stages[0];
      if (original && next) original = await runOriginal(next, original);
      const end = makesUp(stagePlan) ? residualEnd(model.blocks, plan.index, stage.name) : null;
      const captured = await run(stage, activations, {
        quantized: applied,
        gram: stagePlan.linears.some(needsHessian),
        magnitudes: stagePlan.linears.some(needsMagnitudes),
        original: end && original ? { end, slices: original } : null,
      });
      activations = captured.activations;
      applied = await solve(stagePlan, captured);
    }
  } else {
    const known: Pick<Captured, 'hessians' | 'magnitudes'>[] = [];
    let original = activations;
    for (const [position, stage] of stages.entries()) {
      const captured = await run(stage, original, {
        quantized: position === 0 ? applied : new Map(),
        gram: (plan.stages[position] as StagePlan).linears.some(needsHessian),
        magnitudes: (plan.stages[position] as StagePlan).linears.some(needsMagnitudes),
      });
      original = captured.activations;
      if (position === 0) activations = original;
      known.push({ hessians: captured.hessians, magnitudes: captured.magnitudes });
    }
    for (const [position, stage] of plan.stages.entries()) await solve(stage, known[position] ?? NOTHING);
    if (order === 'independent') {
      activations = original;
    } else {
      for (const stage of stages.slice(1)) {
        activations = (await run(stage, activations, { quantized, gram: false })).activations;
      }
      applied = quantized;
    }
  }
  return { activations, applied, ...(original && { original }), quantized, reports, calibrationTokens };
}
