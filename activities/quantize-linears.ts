import { meanErrors, type SignedReport, smallestZeroOf, weightSha256 } from '../engine/checkpoints';
import { weightTensor } from '../engine/models';
import { float32View } from '../engine/numbers';
import {
  joinRows,
  type LinearToQuantize,
  type PreparedHessian,
  parseSolvedRows,
  prepareHessian,
  type QuantizationResult,
  quantizeLinear,
  quantizeRowRange,
  type SolvedRows,
  serializeQuantizedLinear,
  serializeSolvedRows,
} from '../engine/quantizers';
import type { ArtifactRef, MeanErrors, Recipe, StagePlan, TensorTable } from '../engine/spec';
import { computationKey } from './identity';
import { type MergedHessian, type MergeInput, mergeHessian } from './merge-hessian';
import { type MismatchInput, mergeMismatch } from './merge-mismatch';
import { readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { type Bench, defineStep, type Effort, perform } from './step';

/** The errors are means over the linears; null without a Hessian. */
export interface QuantizedLinears extends Effort, MeanErrors {
  /** By module name. */
  readonly linears: Readonly<Record<string, ArtifactRef>>;
  /** Document: SignedReport[]. */
  readonly reports: ArtifactRef;
  /** The step before, when the Hessian had to be merged first. */
  readonly merged: MergedHessian | null;
}

/** A Hessian, or the sums of the slices that it is merged from. */
export type HessianSource = ArtifactRef | MergeInput;

interface LinearsInput {
  readonly hessian: ArtifactRef | null;
  readonly linears: readonly {
    readonly name: string;
    readonly weight: ArtifactRef;
    readonly recipe: Recipe;
    /** Where the recipe has a mismatch. */
    readonly wanted?: ArtifactRef;
  }[];
  /** Smallest zero point that every format asked for can store. */
  readonly minimumZero: 0 | 1;
}

const quantizeStep = defineStep({
  name: 'quantize-linears',
  version: 2,
  run: async (input: LinearsInput, bench) => {
    const prepared = await prepare(input, bench);
    return keepLinears(input, bench, async (linear) =>
      quantizeLinear(await toQuantize(linear, input, prepared, bench)),
    );
  },
});

type LinearInput = LinearsInput['linears'][number];

async function prepare({ hessian }: LinearsInput, bench: Bench): Promise<PreparedHessian | null> {
  return hessian ? prepareHessian(float32View(await bench.read(hessian))) : null;
}

async function toQuantize(
  { name, weight, recipe, wanted: mean }: LinearInput,
  { minimumZero }: LinearsInput,
  prepared: PreparedHessian | null,
  bench: Bench,
): Promise<LinearToQuantize> {
  bench.attempt.progress({ linear: name });
  const { data, shape } = await readFloats(weight, bench);
  const [rows, columns] = shape as [number, number];
  const hessian = recipe.method === 'gptq' ? prepared : null;
  const { threads } = bench.runtime;
  const { signal } = bench.attempt;
  const wanted = mean ? float32View(await bench.read(mean)) : null;
  return { weight: data, rows, columns, hessian, wanted, recipe, minimumZero, name, threads, signal };
}

/** Stores what `solve` makes of each linear, and the reports. */
async function keepLinears(
  { linears }: LinearsInput,
  bench: Bench,
  solve: (linear: LinearInput) => Promise<QuantizationResult>,
): Promise<Omit<QuantizedLinears, keyof Effort | 'merged'>> {
  const quantized: Record<string, ArtifactRef> = {};
  const reports: SignedReport[] = [];
  for (const input of linears) {
    const { name, recipe, weight } = input;
    const { linear, report } = await solve(input);
    const { shape } = weight;
    quantized[name] = await bench.write('quantized-linear', serializeQuantizedLinear(linear), { shape });
    reports.push({ name, recipe, ...report, weightSha256: weightSha256(linear) });
  }
  return { linears: quantized, reports: await bench.writeDocument(reports), ...meanErrors(reports) };
}

interface RowsInput extends LinearsInput {
  readonly part: number;
  readonly parts: number;
}

const rowsStep = defineStep({
  name: 'quantize-rows',
  version: 1,
  run: async ({ part, parts, ...input }: RowsInput, bench) => {
    const prepared = await prepare(input, bench);
    const solved: Record<string, ArtifactRef> = {};
    for (const linear of input.linears) {
      const options = await toQuantize(linear, input, prepared, bench);
      const rows = await quantizeRowRange(options, rangeOf(part, parts, options.rows));
      solved[linear.name] = await bench.write('solved-rows', serializeSolvedRows(rows));
    }
    return { solved };
  },
});

/** Rows of a part: as equal as they get. */
function rangeOf(part: number, parts: number, rows: number): { first: number; count: number } {
  const first = Math.floor((part * rows) / parts);
  return { first, count: Math.floor(((part + 1) * rows) / parts) - first };
}

/** Which stage of which block. */
export interface StageInput {
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: number;
  readonly stage: string;
  /** Where a linear is to make up for what has gone wrong upstream. */
  readonly mismatch?: MismatchInput;
}

export interface QuantizedRowsOfStage extends Effort {
  /** By module name; empty when the whole stage is known. */
  readonly solved: Readonly<Record<string, ArtifactRef>>;
}

/**
 * Quantizes some rows of every linear of a stage, so that several workers share the work; quantizeLinears joins them. Nothing is done where
 * the whole is in the store.
 */
export async function quantizeRows(
  input: StageInput & { hessian: ArtifactRef | null; part: number; parts: number },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<QuantizedRowsOfStage> {
  const linears = await linearsOf(input, input.hessian, runtime, attempt);
  const whole = computationKey(quantizeStep.name, quantizeStep.version, linears);
  if ((await runtime.store.recall(whole)) !== null) return { solved: {}, cached: true, seconds: 0, secondsSaved: 0 };
  return perform(rowsStep, { ...linears, part: input.part, parts: input.parts }, runtime, attempt);
}

/**
 * Quantizes the linears that share one captured input, and so one Hessian and one factorization of it. Two steps when the Hessian is not
 * merged yet: each is found or computed for itself, so a retry merges nothing twice.
 */
export async function quantizeLinears(
  input: StageInput & {
    hessian: HessianSource | null;
    /** By part, when quantizeRows has solved them: what they have is joined, with the same result. */
    parts: readonly Readonly<Record<string, ArtifactRef>>[];
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<QuantizedLinears> {
  const merged =
    input.hessian !== null && 'parts' in input.hessian ? await mergeHessian(input.hessian, runtime, attempt) : null;
  const hessian = merged === null ? (input.hessian as ArtifactRef | null) : merged.hessian;
  const linears = await linearsOf(input, hessian, runtime, attempt);
  const step = input.parts.length > 0 ? joiningStep(input.parts) : quantizeStep;
  return { ...(await perform(step, linears, runtime, attempt)), merged };
}

/** The same step, done by joining rows that are solved: rows do not depend on one another, so its result is the same. */
function joiningStep(parts: readonly Readonly<Record<string, ArtifactRef>>[]): typeof quantizeStep {
  return {
    ...quantizeStep,
    run: (input, bench) =>
      keepLinears(input, bench, async ({ name, recipe, weight }) => {
        const solved: SolvedRows[] = [];
        for (const part of parts) solved.push(parseSolvedRows(await bench.read(part[name] as ArtifactRef)));
        const [rows, columns] = weight.shape as [number, number];
        return joinRows({ rows, columns, recipe }, solved);
      }),
  };
}

/** What the step works on: the linears of a stage that are not kept in 16 bit. */
async function linearsOf(
  input: StageInput,
  hessian: ArtifactRef | null,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<LinearsInput> {
  const { plan, architecture } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = plan.blocks[input.block]?.stages.find(({ stage }) => stage === input.stage) as StagePlan;
  const weightOf = (name: string) =>
    table[weightTensor(architecture, name, (tensor) => tensor in table)] as ArtifactRef;
  const wanted = input.mismatch ? await mergeMismatch(input.mismatch, runtime, attempt) : null;
  const linears = stage.linears.flatMap(({ name, recipe }) =>
    recipe ? [{ name, recipe, weight: weightOf(name), ...(wanted && recipe.mismatch && { wanted }) }] : [],
  );
  return { hessian, linears, minimumZero: smallestZeroOf(plan.spec.formats) };
}
