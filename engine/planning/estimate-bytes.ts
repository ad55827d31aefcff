import { formatOf } from '../checkpoints';
import { activationFeatures } from '../graphs';
import { rotatedDtype } from '../rotation';
import { scaledTensors } from '../scaling';
import { DTYPE_BITS, elementCount, type LinearPlan, type ModelPlan, type Recipe } from '../spec';
import { averageOfOpen, openWidths } from '../widths';
import { calibrationTokens, gramEntries, largest, scaledGroups, total, type WorkToDo } from './work-to-do';

const FLOAT_BYTES = 4;

export interface ByteEstimate {
  /** Weight files of all formats. */
  readonly outputBytes: number;
  /** Most that the store holds at a time, for this job alone. */
  readonly storeBytes: number;
  /** Mean over the quantized weights in the first format; of all weights when none is quantized. */
  readonly bitsPerWeight: number;
}

export function estimateBytes(work: WorkToDo): ByteEstimate {
  const { plan, spec } = work;
  if (spec.importanceOnly) {
    const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
    const outputBytes = FLOAT_BYTES * total(linears.map(({ columns }) => columns));
    const bitsPerWeight = (plan.sourceBytes * 8) / plan.parameters;
    return { outputBytes, storeBytes: outputBytes + calibrationBytes(work), bitsPerWeight };
  }
  const quantized = withAverageBits(work).filter(({ recipe }) => recipe !== null);
  const replaced = new Set(quantized.map(({ name }) => `${name}.weight`));
  const kept = Object.values(plan.tensors).filter(({ name }) => !replaced.has(name));
  const keptBytesIn = (format: (typeof spec.formats)[number]) => {
    const storage = formatOf(format).keptStorage?.(plan) ?? {};
    return total(
      kept.map(({ name, bytes, shape }) => {
        const bits = storage[name]?.bitsPerWeight;
        return bits === undefined ? bytes : (elementCount(shape) * bits) / 8;
      }),
    );
  };
  const bytesIn = (format: (typeof spec.formats)[number]) =>
    total(quantized.map((linear) => (formatOf(format).bitsPerWeight(linear) * weights(linear)) / 8));
  const outputBytes = Math.ceil(total(spec.formats.map((format) => keptBytesIn(format) + bytesIn(format))));
  const [first] = spec.formats;
  const bitsPerWeight =
    quantized.length > 0 && first !== undefined
      ? (bytesIn(first) * 8) / total(quantized.map(weights))
      : (plan.sourceBytes * 8) / plan.parameters;
  const storeBytes = Math.ceil(
    outputBytes +
      total(quantized.map(quantizedLinearBytes)) +
      rotatedBytes(work) +
      scaledBytes(work) +
      calibrationBytes(work),
  );
  return { outputBytes, storeBytes, bitsPerWeight };
}

/** Rotated tensors are kept in the store. */
function rotatedBytes({ plan, spec }: WorkToDo): number {
  if (spec.rotation === 'none') return 0;
  return total(
    Object.values(plan.tensors).map(
      ({ name, shape }) => (elementCount(shape) * DTYPE_BITS[rotatedDtype(plan, name)]) / 8,
    ),
  );
}

/** Tensors of scaled groups are kept in the store, and the Hessians that their scales were searched with. */
function scaledBytes(work: WorkToDo): number {
  const { plan } = work;
  return total(
    scaledGroups(work).map((groups) => {
      const hessians = total(groups.map(({ linears }) => FLOAT_BYTES * (linears[0]?.columns ?? 0) ** 2));
      const tensors = groups.flatMap((group) => scaledTensors(plan, group));
      return (
        hessians +
        total(tensors.map(({ name, dtype }) => (elementCount(plan.tensors[name]?.shape ?? []) * DTYPE_BITS[dtype]) / 8))
      );
    }),
  );
}

/** The linears; where widths are not chosen yet, with their mean in place of a width. */
function withAverageBits({ plan, spec }: WorkToDo): readonly LinearPlan[] {
  const linears = plan.blocks.flatMap((block) => block.stages.flatMap((stage) => stage.linears));
  if (spec.averageBits === null) return linears;
  const widths = openWidths(plan.blocks, spec);
  const open = new Set(widths.groups.flat().map(({ name }) => name));
  const bits = averageOfOpen(widths, spec.averageBits) as Recipe['bits'];
  return linears.map((linear) =>
    linear.recipe && open.has(linear.name) ? { ...linear, recipe: { ...linear.recipe, bits } } : linear,
  );
}

/** As serializeQuantizedLinear writes it: a byte per code, a byte and a float per group, an int32 per column. */
export function quantizedLinearBytes({ rows, columns, recipe }: LinearPlan): number {
  const groups = recipe === null || recipe.groupSize === -1 ? 1 : Math.ceil(columns / recipe.groupSize);
  return rows * columns + 5 * rows * groups + 4 * columns;
}

/**
 * Tokens, merged Hessians (kept), and of one block at a time: the partial Hessians, all that its stages compute, and what the two
 * blocks before left behind.
 */
function calibrationBytes(work: WorkToDo): number {
  const { plan, blocks, shape } = work;
  const tokens = calibrationTokens(work);
  if (tokens === 0) return 0;
  const hessians = blocks.map((block) =>
    total(block.stages.map((stage) => FLOAT_BYTES * gramEntries(stage, work.spec))),
  );
  const computed = blocks.map((block) =>
    total(
      block.stages.flatMap(({ changes }) =>
        changes.map((name) => activationFeatures(name, shape) * FLOAT_BYTES * tokens),
      ),
    ),
  );
  const handedOn = blocks.map((block) =>
    total((block.stages.at(-1)?.leaves ?? []).map((name) => activationFeatures(name, shape) * FLOAT_BYTES * tokens)),
  );
  const passing = Math.max(
    ...blocks.map((_, i) => (hessians[i] as number) * plan.slices.length + (computed[i] as number)),
  );
  const embedded = shape.hiddenSize * FLOAT_BYTES * tokens;
  return FLOAT_BYTES * tokens + total(hessians) + passing + 2 * Math.max(embedded, largest(handedOn));
}

/** Elements of all tensors. */
export function parameterCount(tensors: ModelPlan['tensors']): number {
  return total(Object.values(tensors).map(({ shape }) => elementCount(shape)));
}

function weights({ rows, columns }: LinearPlan): number {
  return rows * columns;
}
