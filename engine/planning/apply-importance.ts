import { resolve } from 'node:path';
import {
  type ImportanceFile,
  importanceName,
  meanSquares,
  readImportance,
  requireImportanceName,
} from '../checkpoints';
import type { LinearPlan, ModelPlan, QuantizationSpec } from '../spec';
import { type Findings, listed } from './findings';

/** Refuses an importance matrix that cannot be written, or would be of another model. */
export async function checkImportanceOnly(
  { importanceOnly, rotation, scaling, averageBits, evaluation, imatrix }: QuantizationSpec,
  plan: ModelPlan,
  findings: Findings,
): Promise<void> {
  if (!importanceOnly) return;
  if (rotation !== 'none' || scaling !== 'none' || averageBits !== null || evaluation || imatrix !== undefined) {
    const message = 'An importance matrix is of the model as it is, and nothing is quantized.';
    findings.refuse(
      'PlanRefused',
      'importanceOnly',
      `${message} Leave rotation, scaling, averageBits, evaluation and imatrix out.`,
    );
  }
  const [first] = plan.blocks.flatMap(({ stages }) => stages.flatMap(({ linears }) => linears));
  if (first) await findings.attempt('model', () => requireImportanceName(first.name));
}

/**
 * The plan with what an importance matrix says of it. A linear that it has no entry for, or that no token came to, is searched with all columns
 * alike, as llama.cpp does; that stands in its recipe. An entry of another width is of another model: it is refused.
 */
export async function withImportance(
  { imatrix, rotation, scaling, averageBits }: QuantizationSpec,
  plan: ModelPlan,
  findings: Findings,
): Promise<ModelPlan> {
  const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
  const weighed = linears.filter(({ recipe }) => recipe?.importance === 'file');
  const refuse = (message: string) => findings.refuse('PlanRefused', 'imatrix', message);
  if (imatrix === undefined) {
    if (weighed.length > 0) refuse('importance is file, and no file is named. Set imatrix, or importance to diagonal.');
    return plan;
  }
  if (linears.length === 0) return plan;
  if (weighed.length === 0) {
    refuse('No linear takes its importance from a file: that is for the method kquants. Use it, or leave imatrix out.');
    return plan;
  }
  if (rotation !== 'none' || scaling !== 'none' || averageBits !== null) {
    refuse(
      'An importance matrix is of the model as it is, and measures no error. Leave rotation, scaling and averageBits out.',
    );
    return plan;
  }
  const path = resolve(imatrix);
  const file = await findings.attempt('imatrix', () => readImportance(path));
  if (file === null) return plan;

  const missing: string[] = [];
  const others: string[] = [];
  for (const { name, columns } of weighed) {
    const found = entryFor(file, name);
    if (found && found.entry.columns !== columns) others.push(`${name} has ${columns} (${found.entry.columns})`);
    if (!found || meanSquares(found.entry, found.expert) === null) missing.push(name);
  }
  if (others.length > 0) {
    refuse(
      `${path} is of another model. Input features, and in the file: ${listed(others)}. Name the file of this one.`,
    );
    return plan;
  }
  if (missing.length === weighed.length) {
    const names = listed([...file.entries.keys()]);
    refuse(`${path} has no entry for any linear of this model; it has ${names}. Name the file of this model.`);
    return plan;
  }
  if (missing.length > 0) {
    findings.warn(
      `${path} has nothing on ${listed(missing)}: there all columns count alike (importance none). llama-imatrix leaves out what its text does not reach.`,
    );
  }
  const unweighted = new Set(missing);
  const { sha256, datasets, chunks, entries } = file;
  return {
    ...plan,
    blocks: plan.blocks.map((block) => ({
      ...block,
      stages: block.stages.map((stage) => ({
        ...stage,
        linears: stage.linears.map(
          (linear): LinearPlan =>
            linear.recipe && unweighted.has(linear.name)
              ? { ...linear, recipe: { ...linear.recipe, importance: 'none' } }
              : linear,
        ),
      })),
    })),
    importance: { file: path, sha256, datasets, chunks, entries: entries.size },
  };
}

function entryFor({ entries }: ImportanceFile, module: string) {
  const named = importanceName(module);
  const entry = named && entries.get(named.name);
  return entry ? { entry, expert: named.expert } : null;
}
