import { meanErrors, openStoredCodes, type SignedReport, smallestZeroOf, weightSha256 } from '../engine/checkpoints';
import { calibratingStage, inputsByLinear, weightTensor } from '../engine/models';
import { float32View } from '../engine/numbers';
import {
  factorizeAhead,
  factorizes,
  joinRows,
  type LinearToQuantize,
  mergeMagnitudes,
  mergeMismatches,
  needsHessian,
  needsMagnitudes,
  type PartialMismatch,
  type PreparedHessian,
  parseSolvedRows,
  prepareHessian,
  type QuantizationResult,
  quantizeLinear,
  quantizeRowRange,
  type SolvedRows,
  serializeQuantizedLinear,
  serializeSolvedRows,
  solvesByRows,
} from '../engine/quantizers';
import {
  type ArtifactRef,
  type DType,
  elementCount,
  type MeanErrors,
  type Recipe,
  type StagePlan,
  type TensorTable,
} from '../engine/spec';
import { borrowMemory, type TakeMemory } from './borrow-memory';
import type { MismatchOfSlice } from './calibrate-slice';
import { computationKey } from './identity';
import type { ImportanceTable } from './import-importance';
import { type LinearRefs, MOST_NAMED } from './linear-refs';
import { type MergedHessian, type MergeInput, mergeHessian } from './merge-hessian';
import { readDocument, stageOf, viewModel } from './model-view';
import { readFloats } from './read-floats';
import type { ActivityRuntime, Attempt } from './runtime';
import { sideBySide } from './side-by-side';
import { eachHessian, isStack } from './stacked-hessians';
import { type Bench, defineStep, type Effort, perform } from './step';

/** The errors are means over the linears; null without a Hessian. */
export interface QuantizedLinears extends Effort, MeanErrors {
  readonly linears: LinearRefs;
  /** Document: SignedReport[]. */
  readonly reports: ArtifactRef;
  /** The step before, when the Hessian had to be merged first. */
  readonly merged: MergedHessian | null;
}

interface SolvedLinears extends Omit<QuantizedLinears, keyof Effort | 'merged'> {
  /** Document: `linears`, where they are many. Absent from records of early versions. */
  readonly listed?: ArtifactRef;
}

/** A Hessian, or the sums of the slices that it is merged from. */
export type HessianSource = ArtifactRef | MergeInput;

/** What calibrateSlice summed of a mismatch, in slice order. */
export interface MismatchInput {
  readonly parts: readonly MismatchOfSlice[];
}

interface LinearsInput {
  readonly hessian: ArtifactRef | null;
  readonly linears: readonly {
    readonly name: string;
    readonly weight: ArtifactRef;
    readonly recipe: Recipe;
    /** Which of the stacked Hessians is its own. Absent: there is one for all. */
    readonly input?: number;
    /** Where the recipe has a mismatch. */
    readonly missing?: MismatchInput;
    /** The largest magnitude of its input on the calibration set: where the recipe's activations need it. */
    readonly inputMagnitude?: number;
    /** F32 `[columns]`: where the recipe's importance is of a file. */
    readonly importance?: ArtifactRef;
    /** Where codes are taken from the source: the checkpoint that has them. */
    readonly storedIn?: string;
  }[];
  /** Smallest zero point that every format asked for can store. */
  readonly minimumZero: 0 | 1;
}

const quantizeStep = defineStep({
  name: 'quantize-linears',
  version: 2,
  run: (input: LinearsInput, bench) => quantize(input, bench),
});

type LinearInput = LinearsInput['linears'][number];

function quantize(
  input: LinearsInput,
  bench: Bench,
  ahead: Promise<PreparedHessian> | null = null,
): Promise<SolvedLinears> {
  return borrowMemory(async (take) => {
    if (isStack(input.hessian)) return quantizeApart(input, bench);
    const prepared = await (ahead ?? prepare(input, bench, take));
    const stored = storeLinears(input, bench, (linear) =>
      borrowMemory(async (take) => quantizeLinear(await toQuantize(linear, input, { prepared }, bench, take))),
    );
    return concluded([await stored], bench);
  });
}

/** Linears whose inputs are several: those of one after those of the other. */
async function quantizeApart(input: LinearsInput, bench: Bench): Promise<SolvedLinears> {
  const stored: StoredLinears[] = [];
  await eachOwnHessian(input, bench, async (linears, given) => {
    const solve = (linear: LinearInput) =>
      borrowMemory(async (take) => quantizeLinear(await toQuantize(linear, input, given, bench, take)));
    stored.push(await storeLinears({ linears }, bench, solve));
  });
  return concluded(stored, bench);
}

/** What is known of the input of a linear. */
interface GivenHessian {
  readonly prepared: PreparedHessian | null;
  /** Of an expert's: how many tokens came to it. */
  readonly tokens?: number;
}

/** The linears of every input with their Hessian, one input after the other. */
function eachOwnHessian(
  { hessian, linears }: Pick<LinearsInput, 'hessian' | 'linears'>,
  bench: Bench,
  use: (linears: readonly LinearInput[], given: GivenHessian) => Promise<void>,
): Promise<void> {
  return eachHessian(hessian as ArtifactRef, bench, async ({ input, hessian, tokens }) => {
    const own = linears.filter((linear) => linear.input === input);
    if (own.length > 0) await use(own, { prepared: await prepareHessian(hessian), tokens });
  });
}

async function prepare({ hessian }: LinearsInput, bench: Bench, take: TakeMemory): Promise<PreparedHessian | null> {
  if (!hessian) return null;
  const values = float32View(await bench.readInto(hessian, take(hessian.bytes)));
  return prepareHessian(values, { memory: take(2 * hessian.bytes) });
}

/** The same of a Hessian that is not stored yet, and factorized already. */
async function prepareAhead(
  hessian: Float32Array,
  { linears }: Pick<LinearsInput, 'linears'>,
  { threads }: ActivityRuntime,
  { signal }: Attempt,
  take: TakeMemory,
): Promise<PreparedHessian> {
  const prepared = await prepareHessian(hessian, { memory: take(2 * hessian.byteLength) });
  const recipe = linears.find(({ recipe }) => factorizes(recipe))?.recipe;
  if (recipe) await factorizeAhead(prepared, { recipe, threads, signal });
  return prepared;
}

async function toQuantize(
  { name, weight, recipe, missing: sums, storedIn, importance: means, inputMagnitude }: LinearInput,
  { minimumZero }: LinearsInput,
  { prepared, tokens }: GivenHessian,
  bench: Bench,
  take: TakeMemory,
): Promise<LinearToQuantize> {
  bench.attempt.progress({ linear: name });
  const { data, shape } = await readFloats(weight, bench, take);
  const [rows, columns] = shape as [number, number];
  const hessian = needsHessian({ recipe }) ? prepared : null;
  const { threads } = bench.runtime;
  const { signal } = bench.attempt;
  const mismatch = sums ? await mergeMismatches(partialsOf(sums, bench, take), { take }) : null;
  const dtype = weight.dtype as Extract<DType, 'F32' | 'F16' | 'BF16'>;
  const stored = storedIn === undefined ? {} : { stored: await (await openStoredCodes(storedIn))(name) };
  const importance = means ? { importance: float32View(await bench.read(means)) } : {};
  const known = {
    ...(tokens !== undefined && { tokens }),
    ...(inputMagnitude !== undefined && { inputMagnitude }),
  };
  const given = { hessian, mismatch, ...stored, ...importance, ...known };
  return { weight: data, rows, columns, ...given, recipe, minimumZero, dtype, name, threads, signal };
}

async function* partialsOf({ parts }: MismatchInput, bench: Bench, take: TakeMemory): AsyncGenerator<PartialMismatch> {
  const memory = take(parts[0]?.sum.bytes ?? 0);
  const gramMemory = take(parts[0]?.gram?.bytes ?? 0);
  for (const { sum, gram, tokens } of parts) {
    yield {
      sum: float32View(await bench.readInto(sum, memory)),
      gram: gram && float32View(await bench.readInto(gram, gramMemory)),
      tokens,
    };
  }
}

/** Weights of linears that are solved at the same time, at 8 bytes of memory each. */
const WEIGHTS_SIDE_BY_SIDE = 4 << 20;

interface StoredLinears {
  /** By module name. */
  readonly artifacts: Readonly<Record<string, ArtifactRef>>;
  readonly reports: readonly SignedReport[];
}

/** Stores what `solve` makes of each linear. Of small linears some are read or stored while others are solved. */
async function storeLinears(
  { linears }: Pick<LinearsInput, 'linears'>,
  bench: Bench,
  solve: (linear: LinearInput) => Promise<QuantizationResult>,
): Promise<StoredLinears> {
  const costs = { costOf: ({ weight }: LinearInput) => elementCount(weight.shape ?? []), limit: WEIGHTS_SIDE_BY_SIDE };
  const writing = new Map<string, Promise<ArtifactRef>>();
  try {
    const reports = await sideBySide(linears, costs, async (input): Promise<SignedReport> => {
      const { name, recipe, weight } = input;
      const { linear, report } = await solve(input);
      const { relativeError, rung, damping, condition } = report;
      bench.runtime.log('quantized', { name, kind: name.split('.').at(-1), relativeError, rung, damping, condition });
      const artifact = bench.write('quantized-linear', serializeQuantizedLinear(linear), { shape: weight.shape });
      artifact.catch(() => undefined); // It is told when all are waited for.
      writing.set(name, artifact);
      return { name, recipe, ...report, weightSha256: weightSha256(linear) };
    });
    const quantized = linears.map(async ({ name }) => [name, (await writing.get(name)) as ArtifactRef] as const);
    return { artifacts: Object.fromEntries(await Promise.all(quantized)), reports };
  } finally {
    await Promise.allSettled(writing.values());
  }
}

/** Stores the reports. */
async function concluded(stored: readonly StoredLinears[], bench: Bench): Promise<SolvedLinears> {
  const reports = stored.flatMap((part) => part.reports);
  const linears: LinearRefs = Object.assign({}, ...stored.map(({ artifacts }) => artifacts));
  const many = Object.keys(linears).length > MOST_NAMED;
  return {
    linears,
    ...(many && { listed: await bench.writeDocument(linears) }),
    reports: await bench.writeDocument(reports),
    ...meanErrors(reports),
  };
}

interface RowsInput extends LinearsInput {
  readonly part: number;
  readonly parts: number;
}

const rowsStep = defineStep({
  name: 'quantize-rows',
  version: 1,
  run: ({ part, parts, ...input }: RowsInput, bench) =>
    borrowMemory(async (take) => {
      const solved: Record<string, ArtifactRef> = {};
      const solve = async (linears: readonly LinearInput[], given: GivenHessian) => {
        // What is taken whole is left to quantizeLinears.
        for (const linear of linears.filter(({ recipe }) => solvesByRows(recipe))) {
          const rows = await borrowMemory(async (take) => {
            const options = await toQuantize(linear, input, given, bench, take);
            return quantizeRowRange(options, rangeOf(part, parts, options.rows));
          });
          solved[linear.name] = await bench.write('solved-rows', serializeSolvedRows(rows));
        }
      };
      if (isStack(input.hessian)) await eachOwnHessian(input, bench, solve);
      else await solve(input.linears, { prepared: await prepare(input, bench, take) });
      return { solved };
    }),
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
  /** Documents, by slice: the largest magnitude of each captured input. Where a linear's activations need it. */
  readonly magnitudes?: readonly ArtifactRef[];
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
  const linears = { ...(await linearsOf(input, runtime, attempt)), hessian: input.hessian };
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
  return borrowMemory(async (take) => {
    let ahead: Promise<PreparedHessian> | null = null;
    try {
      const work = await linearsOf(input, runtime, attempt);
      let hessian = input.hessian;
      let merged: MergedHessian | null = null;
      if (hessian !== null && 'parts' in hessian) {
        const begin = (values: Float32Array) => {
          if (input.parts.length > 0) return;
          ahead = prepareAhead(values, work, runtime, attempt, take);
          ahead.catch(() => undefined); // It is told by the step that waits for it.
        };
        merged = await mergeHessian(hessian, runtime, attempt, { take, begin });
        hessian = merged.hessian;
      }
      const step = input.parts.length > 0 ? joiningStep(input.parts) : solvingStep(ahead);
      const { listed, ...solved } = await perform(step, { ...work, hessian }, runtime, attempt);
      return { ...solved, ...(listed && { linears: { [`${input.block}/${input.stage}`]: listed } }), merged };
    } finally {
      // Its memory goes back.
      await (ahead as Promise<PreparedHessian> | null)?.catch(() => undefined);
    }
  });
}

/** The same step with a Hessian that is prepared already. */
function solvingStep(ahead: Promise<PreparedHessian> | null): typeof quantizeStep {
  return { ...quantizeStep, run: (input, bench) => quantize(input, bench, ahead) };
}

/** The same step, done by joining rows that are solved: rows do not depend on one another, so its result is the same. */
function joiningStep(parts: readonly Readonly<Record<string, ArtifactRef>>[]): typeof quantizeStep {
  return {
    ...quantizeStep,
    run: async (input, bench) => {
      const stored = storeLinears(input, bench, async (linear) => {
        const { name, recipe, weight } = linear;
        if (!solvesByRows(recipe)) {
          return borrowMemory(async (take) =>
            quantizeLinear(await toQuantize(linear, input, { prepared: null }, bench, take)),
          );
        }
        const solved: SolvedRows[] = [];
        for (const part of parts) solved.push(parseSolvedRows(await bench.read(part[name] as ArtifactRef)));
        const [rows, columns] = weight.shape as [number, number];
        return joinRows({ rows, columns, recipe }, solved);
      });
      return concluded([await stored], bench);
    },
  };
}

/** What the step works on: the linears of a stage that are not kept in 16 bit. */
async function linearsOf(
  input: StageInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Omit<LinearsInput, 'hessian'>> {
  const { plan, architecture, blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const stage = plan.blocks[input.block]?.stages.find(({ stage }) => stage === input.stage) as StagePlan;
  const inputOf = inputsByLinear(calibratingStage(stageOf(blocks, input), plan.spec.calibration));
  const weightOf = (name: string) =>
    table[weightTensor(architecture, name, (tensor) => tensor in table)] as ArtifactRef;
  const importance =
    plan.importanceTable && (await readDocument<ImportanceTable>(plan.importanceTable, runtime, attempt));
  const slices = (input.magnitudes ?? []).map((ref) => readDocument<readonly number[]>(ref, runtime, attempt));
  const magnitudes = slices.length > 0 ? mergeMagnitudes(await Promise.all(slices)) : [];
  const linears = stage.linears.flatMap(({ name, recipe }) =>
    recipe
      ? [
          {
            name,
            recipe,
            weight: weightOf(name),
            ...(inputOf?.has(name) && { input: inputOf.get(name) as number }),
            ...(needsMagnitudes({ recipe }) && { inputMagnitude: magnitudes[inputOf?.get(name) ?? 0] as number }),
            ...(input.mismatch && recipe.mismatch && { missing: input.mismatch }),
            ...(recipe.importance === 'file' && { importance: importance?.[name] as ArtifactRef }),
            ...(recipe.method === 'stored' && { storedIn: plan.origin?.dequantized as string }),
          },
        ]
      : [],
  );
  return { linears, minimumZero: smallestZeroOf(plan.spec.formats) };
}
