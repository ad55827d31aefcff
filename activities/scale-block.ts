import { smallestZeroOf } from '../engine/checkpoints';
import { bytesOf, float32View } from '../engine/numbers';
import {
  perChannel,
  plannedGroups,
  type ScalingGroup,
  scaledTensors,
  scalesOfGain,
  scaleTensor,
  scalingGroups,
  searchScales,
  smoothScales,
} from '../engine/scaling';
import type { ArtifactRef, Recipe, StagePlan, TensorTable } from '../engine/spec';
import { type JobPlan, readDocument, viewModel } from './model-view';
import { readFloats } from './read-floats';
import { readTensor } from './read-tensor';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform, together } from './step';

export interface ScaledBlock extends Effort {
  /** Document: TensorTable of the tensors that have changed. */
  readonly tensors: ArtifactRef;
}

interface SearchInput {
  readonly hessian: ArtifactRef;
  readonly linears: readonly { readonly name: string; readonly weight: ArtifactRef; readonly recipe: Recipe }[];
  readonly channels: Pick<ScalingGroup, 'size' | 'repeats'>;
  /** Of the norm that takes the scales up; null: a linear does. */
  readonly gain: ArtifactRef | null;
  /** What it is stored less by; absent: nothing. */
  readonly gainOffset?: number;
  readonly minimumZero: 0 | 1;
}

const searchStep = defineStep({
  name: 'search-scales',
  version: 1,
  run: async ({ hessian, linears, channels, gain, gainOffset, minimumZero }: SearchInput, bench) => {
    const values = float32View(await bench.read(hessian));
    const weights: { name: string; weight: Float32Array; recipe: Recipe }[] = [];
    for (const { name, weight, recipe } of linears) {
      weights.push({ name, recipe, weight: (await readFloats(weight, bench)).data });
    }
    const { threads } = bench.runtime;
    const { signal } = bench.attempt;
    const columns = hessian.shape?.[0] as number;
    const search = { hessian: values, columns, linears: weights, channels, minimumZero, threads, signal };
    const { scales, ...found } = await searchScales(search);
    const taken = gain ? scalesOfGain(await readTensor(gain, bench), scales, gainOffset) : scales;
    return { scales: await bench.write('weight', bytesOf(taken), { dtype: 'F32', shape: [taken.length] }), ...found };
  },
});

/** As searched, but for what only a search needs. */
type SmoothInput = Omit<SearchInput, 'minimumZero'>;

const smoothStep = defineStep({
  name: 'smooth-scales',
  version: 1,
  run: async ({ hessian, linears, channels, gain, gainOffset }: SmoothInput, bench) => {
    const values = float32View(await bench.read(hessian));
    const columns = hessian.shape?.[0] as number;
    const meanSquares = Float64Array.from({ length: columns }, (_, i) =>
      Math.max(0, values[i * columns + i] as number),
    );
    const weights: Float32Array[] = [];
    for (const { weight } of linears) weights.push((await readFloats(weight, bench)).data);
    const scales = smoothScales({ meanSquares, weights, channels });
    const taken = gain ? scalesOfGain(await readTensor(gain, bench), scales, gainOffset) : scales;
    return { scales: await bench.write('weight', bytesOf(taken), { dtype: 'F32', shape: [taken.length] }) };
  },
});

interface ScaleInput {
  readonly tensor: ArtifactRef;
  /** One per scale. */
  readonly scales: ArtifactRef;
  /** Multiply the columns; null: divide the rows from `firstRow` on. */
  readonly columns: Pick<ScalingGroup, 'size' | 'repeats'> | null;
  readonly firstRow: number;
  readonly offset?: number;
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

const scaleStep = defineStep({
  name: 'scale-tensor',
  version: 1,
  run: async ({ tensor, scales: ref, columns, firstRow, offset, dtype }: ScaleInput, bench) => {
    const scales = float32View(await bench.read(ref));
    const scaled = scaleTensor({
      tensor: await readTensor(tensor, bench),
      columns: columns && perChannel(scales, columns),
      rows: columns ? null : { first: firstRow, scales },
      offset,
      dtype,
    });
    return { scaled: await bench.write('weight', scaled.data, { dtype, shape: scaled.shape }) };
  },
});

const listStep = defineStep({
  name: 'scaled-tensors',
  version: 1,
  run: async ({ tensors }: { readonly tensors: TensorTable }, bench) => ({
    tensors: await bench.writeDocument(tensors),
  }),
});

/** Finds the scales of one block's input channels and folds them into its tensors, a group of linears after the other. */
export async function scaleBlock(
  input: {
    plan: ArtifactRef;
    table: ArtifactRef;
    block: number;
    /** By stage: of the original model. */
    hessians: Readonly<Record<string, ArtifactRef | null>>;
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<ScaledBlock> {
  const { plan, architecture, shape, blocks } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const block = blocks[input.block];
  const groups = block ? plannedGroups(plan, input.block, scalingGroups(architecture, shape, block)) : [];
  const changed: Record<string, ArtifactRef> = {};
  const current = (name: string) => changed[name] ?? (table[name] as ArtifactRef);
  const efforts: Effort[] = [];
  for (const group of groups) {
    const { stage, size, repeats, before } = group;
    attempt.progress({ block: input.block, stage });
    const linears = recipesOf(plan, input.block, stage).map((linear) => ({
      ...linear,
      weight: current(`${linear.name}.weight`),
    }));
    const given = {
      hessian: input.hessians[stage] as ArtifactRef,
      linears,
      channels: { size, repeats },
      gain: 'norm' in before ? current(before.norm[0]) : null,
      ...('norm' in before && before.gainOffset !== 0 && { gainOffset: before.gainOffset }),
    };
    const minimumZero = smallestZeroOf(plan.spec.formats);
    const found =
      plan.spec.scaling === 'smoothquant'
        ? await perform(smoothStep, given, runtime, attempt)
        : await perform(searchStep, { ...given, minimumZero }, runtime, attempt);
    efforts.push(found);
    const { scales } = found;
    for (const { name, columns, ...where } of scaledTensors(plan, group)) {
      const scaling = { tensor: current(name), scales, columns: columns ? { size, repeats } : null, ...where };
      const result = await perform(scaleStep, scaling, runtime, attempt);
      changed[name] = result.scaled;
      efforts.push(result);
    }
  }
  return { ...(await perform(listStep, { tensors: changed }, runtime, attempt)), ...together(efforts) };
}

function recipesOf({ blocks }: JobPlan, block: number, stage: string): { name: string; recipe: Recipe }[] {
  const planned = blocks[block]?.stages.find((candidate) => candidate.stage === stage) as StagePlan;
  return planned.linears.flatMap(({ name, recipe }) => (recipe ? [{ name, recipe }] : []));
}
