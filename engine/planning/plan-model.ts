import { planSlices } from '../calibration';
import { formatOf } from '../checkpoints';
import { ARCHITECTURES, architectureOf, residualEnd } from '../models';
import type { Architecture, Block, ModelShape } from '../models/architecture';
import { needsCalibration } from '../quantizers';
import {
  type LocatedModel,
  locateModel,
  openModelDirectory,
  type SourceAccess,
  type SourceDirectory,
} from '../sources';
import type { BlockPlan, LinearPlan, ModelPlan, PlanEstimate, QuantizationSpec, Recipe } from '../spec';
import { checkImportanceOnly, withImportance } from './apply-importance';
import { checkExperts } from './check-experts';
import { checkFetch } from './check-fetch';
import { checkLinears, checkOverrides, warnOfUnequalFused } from './check-linears';
import { checkPlaces } from './check-places';
import { checkScaling } from './check-scaling';
import { checkTensors, refuseQuantizedInput } from './check-tensors';
import { checkTexts } from './check-texts';
import { checkWidths } from './check-widths';
import { activitiesOfBlock, activitiesOfJob } from './estimate-activities';
import { estimateBytes, parameterCount } from './estimate-bytes';
import { estimateMemory } from './estimate-memory';
import { estimateOperations } from './estimate-operations';
import { Findings } from './findings';
import { checkEmbedding, plannedEmbedding } from './plan-embedding';
import { resolveRecipe } from './resolve-recipe';
import { withStoredRecipes } from './stored-recipes';
import { calibrationTokens, largest, total, type WorkToDo } from './work-to-do';

interface Understood {
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  readonly blocks: readonly Block[];
}

export interface PlanOptions {
  /** Where artifacts will be kept, to see whether there is room; null: not a directory, or not to be checked. */
  readonly storeDirectory?: string | null;
  /** For models from elsewhere, and quantized ones. Default: refused. */
  readonly sources?: SourceAccess | null;
  readonly signal?: AbortSignal;
}

/**
 * Reads config and headers only, and says what the job would do: which tensor belongs to which block, how each linear is quantized,
 * what it would cost, and every reason why it would not run, all at once. When there are refusals, the plan is as complete as could
 * be and must not be used.
 *
 * @throws QuantloomError InvalidSpecification for an override that is no regular expression; UnsupportedInput, InvalidModel when the
 * model's directory cannot be read at all.
 */
export async function planModel(
  spec: QuantizationSpec,
  { storeDirectory = null, sources = null, signal }: PlanOptions = {},
): Promise<{ plan: ModelPlan; estimate: PlanEstimate }> {
  resolveRecipe(spec, '');
  const located = await locateModel(spec.model, sources, { dequantize: spec.dequantize, signal });
  const source = withPublishedNames({
    ...(await openModelDirectory(located.preview)),
    directory: located.directory,
  });
  const findings = new Findings();
  const isDense = !refuseQuantizedInput(source.config, source.tensors, findings);
  const understood = await findings.attempt('model', () => understand(source));
  const made = await withStoredRecipes(makePlan(spec, source, understood, located), spec, located, findings);
  const plan = withRecipesOfFormat(spec, await withImportance(spec, made, findings), findings);
  const calibrated = plan.slices.length > 0;
  await checkTexts({ spec, directory: located.preview, shape: understood?.shape ?? null, calibrated }, findings);
  if (understood !== null) {
    if (isDense) checkTensors({ ...understood, tensors: source.tensors }, findings);
    check(spec, plan, understood, findings);
    checkEmbedding(spec, plan, findings);
    for (const format of spec.formats) {
      await findings.attempt(`format ${format}`, () =>
        formatOf(format).requireWritable?.({ ...plan, directory: located.preview }),
      );
    }
  }
  if (understood !== null) {
    checkRotation(spec, plan, understood, findings);
    checkScaling(spec, plan, understood, findings);
  }
  await checkImportanceOnly(spec, plan, findings);
  warnOfIdleMismatch(spec, findings);
  const work = understood && { ...understood, spec, plan, blocks: understood.blocks.slice(0, plan.blocks.length) };
  const costs = work === null ? NOTHING : costsOf(work);
  const { outputBytes, storeBytes } = costs;
  const places = { output: spec.output, model: source.directory, store: storeDirectory, outputBytes, storeBytes };
  const diskFreeBytes = await checkPlaces(places, spec, findings, sources?.s3);
  await checkFetch(located, sources, findings);
  const { refusals, warnings } = findings;
  const { architecture, parameters, sourceBytes } = plan;
  const counts = { blocks: plan.blocks.length, linears: quantizedLinears(plan).length, bytesToRead: sourceBytes };
  return { plan, estimate: { architecture, parameters, ...counts, ...costs, diskFreeBytes, refusals, warnings } };
}

/** A format that sets the recipes of all linears comes alone. */
function withRecipesOfFormat(
  { formats, averageBits }: QuantizationSpec,
  plan: ModelPlan,
  findings: Findings,
): ModelPlan {
  const format = formats.map(formatOf).find(({ planRecipes }) => planRecipes);
  if (!format?.planRecipes) return plan;
  if (formats.length > 1) {
    findings.refuse(
      'PlanRefused',
      'formats',
      `The format ${format.name} sets what every linear is quantized to, so it comes alone. Run a job for each of ${formats.join(', ')}.`,
    );
  }
  if (averageBits !== null) {
    findings.refuse(
      'PlanRefused',
      'averageBits',
      `The format ${format.name} chooses the types of all linears, so there are no widths to choose. Leave averageBits out, or write gptq.`,
    );
  }
  return format.planRecipes(plan);
}

/** Readers of what is written look for the names that transformers writes, also where the source has others. */
function withPublishedNames(source: SourceDirectory): SourceDirectory {
  const { config, tensors } = source;
  const architecture = ARCHITECTURES.find((candidate) => candidate.accepts(config))?.named((name) => name in tensors);
  if (!architecture) return source;
  const renamed = Object.entries(tensors).map(([storedAs, tensor]) => {
    const name = architecture.publishedName(storedAs);
    return [name, name === storedAs ? tensor : { ...tensor, name, storedAs }] as const;
  });
  return { ...source, tensors: Object.fromEntries(renamed) };
}

/** @throws QuantloomError UnsupportedArchitecture, InvalidModel. */
function understand({ config, tensors }: SourceDirectory): Understood {
  const architecture = architectureOf(config, (tensor) => tensor in tensors);
  const shape = architecture.shape(config);
  return { architecture, shape, blocks: architecture.blocks(shape, (tensor) => tensor in tensors) };
}

function makePlan(
  spec: QuantizationSpec,
  source: SourceDirectory,
  understood: Understood | null,
  { origin }: LocatedModel,
): ModelPlan {
  const { directory, companions } = source;
  const { config, tensors } = understood === null ? source : rotated(spec, source, understood);
  const blocks = understood === null ? [] : planBlocks(spec, understood, tensors);
  const owned = new Set(blocks.flatMap((block) => block.tensors));
  const buffers = understood?.architecture.buffers;
  const calibrates =
    spec.scaling !== 'none' ||
    blocks.some(({ stages }) => stages.some(({ linears }) => linears.some(needsCalibration)));
  const { samples, sequenceLength, sliceTokens } = spec.calibration;
  return {
    architecture: understood?.architecture.name ?? String(config.model_type ?? 'unknown'),
    directory,
    ...(origin && { origin }),
    config,
    blocks,
    remainder: Object.keys(tensors).filter((name) => !owned.has(name) && !buffers?.test(name)),
    tensors,
    companions,
    ...plannedEmbedding(spec),
    parameters: parameterCount(source.tensors),
    sourceBytes: total(Object.values(source.tensors).map(({ bytes }) => bytes)),
    slices: calibrates ? planSlices(samples, sequenceLength, sliceTokens) : [],
  };
}

/** A rotated head is the embedding no more: one that was tied begins as a copy of it. */
function rotated(
  { rotation }: QuantizationSpec,
  { config, tensors }: SourceDirectory,
  { architecture, shape }: Understood,
): Pick<ModelPlan, 'config' | 'tensors'> {
  const embedding = tensors[architecture.embedding];
  if (rotation === 'none' || !shape.tiedHead || embedding === undefined) return { config, tensors };
  const head = { ...embedding, name: architecture.head, copyOf: architecture.embedding };
  return {
    config: { ...config, tie_word_embeddings: false },
    tensors: { ...tensors, [head.name]: tensors[head.name] ?? head },
  };
}

function checkRotation(
  { rotation }: QuantizationSpec,
  plan: ModelPlan,
  { architecture, shape }: Understood,
  findings: Findings,
): void {
  if (rotation !== 'none' && architecture.rotations(shape, () => false) === null) {
    findings.refuse(
      'PlanRefused',
      'rotation',
      `A rotation would change what the architecture ${architecture.name} computes: its norms are not root mean square norms, or stand behind a branch too. Leave rotation out.`,
    );
  }
  const copy = Object.values(plan.tensors).find(({ copyOf }) => copyOf !== undefined);
  if (rotation === 'none' || copy === undefined) return;
  findings.warn(
    `Rotated, ${copy.name} is not ${copy.copyOf} any more: the checkpoint holds both, ${copy.bytes} bytes more ` +
      '(tie_word_embeddings: false).',
  );
}

/** The head is the architecture's last block; it is planned only when it is to be quantized. */
function planBlocks(
  spec: QuantizationSpec,
  { architecture, blocks }: Understood,
  tensors: SourceDirectory['tensors'],
): readonly BlockPlan[] {
  return blocks.slice(0, spec.keepHead ? -1 : undefined).map((block, index) => {
    const stages = block.stages.map(({ name, captures }) => ({
      stage: name,
      linears: captures.map((linear): LinearPlan => {
        const recipe = resolveRecipe(spec, linear.name);
        const ends = residualEnd(blocks, index, name) !== null;
        return { ...linear, recipe: recipe && withoutIdleMismatch(recipe, spec, ends) };
      }),
    }));
    const expected = [...block.tensors.keys()];
    // A tied head may lie in the files all the same.
    if (index === blocks.length - 1) expected.push(architecture.head);
    const owned = [...new Set(expected)].filter((name) => tensors[name] !== undefined).sort();
    return { index, name: block.name, stages, tensors: owned };
  });
}

/** Where a mismatch is not corrected for, the recipe does not speak of one. */
function withoutIdleMismatch(recipe: Recipe, { order }: QuantizationSpec, endsBranch: boolean): Recipe {
  const { mismatch = 0, ...others } = recipe;
  return mismatch > 0 && order === 'stage' && recipe.method === 'gptq' && endsBranch ? recipe : others;
}

/** Only order `stage` has the hidden states of the original beside those behind quantized layers. */
function warnOfIdleMismatch({ order, recipe, overrides }: QuantizationSpec, findings: Findings): void {
  const asked = [recipe, ...overrides].some(({ mismatch = 0 }) => mismatch > 0);
  if (!asked || order === 'stage') return;
  findings.warn(
    `mismatch is left out: it needs order stage, and this is order ${order}. Use --order stage, or leave mismatch out.`,
  );
}

function check(
  spec: QuantizationSpec,
  plan: ModelPlan,
  { architecture, shape, blocks }: Understood,
  findings: Findings,
): void {
  const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
  const head = architecture.head.replace(/\.weight$/, '');
  checkOverrides(spec, linears, head, findings);
  checkLinears(linears, spec, findings);
  checkWidths(spec, plan, findings);
  checkExperts(spec, plan, { shape, blocks }, findings);
  warnOfUnequalFused(plan.blocks, spec.formats, findings);
  const headRecipe = linears.find(({ name }) => name === head)?.recipe ?? null;
  if (headRecipe !== null && shape.tiedHead) {
    findings.warn(
      `${head} is tied to the embedding: quantized, it becomes a tensor of its own (tie_word_embeddings: false), and the embedding stays.`,
    );
  }
  if (quantizedLinears(plan).length === 0) {
    findings.refuse(
      'PlanRefused',
      'overrides',
      'Every linear is kept in 16 bit, so there is nothing to quantize. Take a skip back.',
    );
  }
}

function quantizedLinears(plan: ModelPlan): readonly LinearPlan[] {
  return plan.blocks
    .flatMap(({ stages }) => stages.flatMap((stage) => stage.linears))
    .filter(({ recipe }) => recipe !== null);
}

type Costs = Omit<
  PlanEstimate,
  'architecture' | 'parameters' | 'blocks' | 'linears' | 'bytesToRead' | 'diskFreeBytes' | 'refusals' | 'warnings'
>;

const NOTHING: Costs = {
  bitsPerWeight: 0,
  outputBytes: 0,
  storeBytes: 0,
  calibrationTokens: 0,
  activitiesPerLayer: 0,
  activities: 0,
  peakMemoryBytes: {},
  floatingPointOperations: 0,
};

function costsOf(work: WorkToDo): Costs {
  return {
    ...estimateBytes(work),
    calibrationTokens: calibrationTokens(work),
    activitiesPerLayer: largest(work.plan.blocks.map((block) => activitiesOfBlock(block, work))),
    activities: activitiesOfJob(work),
    peakMemoryBytes: estimateMemory(work),
    floatingPointOperations: estimateOperations(work),
  };
}
