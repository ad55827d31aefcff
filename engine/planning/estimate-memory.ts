import {
  activationFeatures,
  feedForwardFeatures,
  stageBatchSequences,
  stageTemporaryBytesPerSequence,
} from '../graphs';
import type { Stage } from '../models/architecture';
import { elementCount, type LinearPlan, type PlanEstimate } from '../spec';
import { quantizedLinearBytes } from './estimate-bytes';
import { gramEntries, hasMismatch, largest, scaledGroups, total, type WorkToDo } from './work-to-do';

const FLOAT_BYTES = 4;
/** Of a weight in bfloat16. */
const PACKED_BYTES = 2;
/** Chunks that files are read by, and the buffers around them. */
const STREAM_BYTES = 16 << 20;
/** Bound that stages keep their temporaries to, unless one sequence alone needs more. */
const STAGE_TEMPORARY_BYTES = 256 << 20;
/** Tokens that a stage is run on at once, unless a sequence is longer. */
const BATCH_TOKENS = 1024;
/** Bound that perplexity keeps its activations to. */
const EVALUATION_ACTIVATION_BYTES = 1 << 30;

/** Peak resident bytes of each activity beyond the idle process: bounded by one stage of one layer (the embedding for some). */
export function estimateMemory(work: WorkToDo): PlanEstimate['peakMemoryBytes'] {
  const { plan, spec } = work;
  const calibrated = plan.slices.length > 0;
  const mergeHessian = calibrated ? most(work, (stage) => 16 * widestInput(stage) ** 2) : 0;
  const quantize = most(work, (stage) => quantizeLinears(stage, calibrated));
  const mismatches = plan.blocks.flatMap(({ stages }) => stages.filter(hasMismatch).flatMap(({ linears }) => linears));
  const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
  const damped = linears.flatMap(({ recipe, columns }) => (recipe?.refinementDamping ? 8 * columns ** 2 : 0));
  const solveMismatch = largest(mismatches.map(({ rows, columns }) => 36 * rows * columns + 32 * columns ** 2));
  return {
    'fetch-model': STREAM_BYTES,
    ...(spec.rotation === 'none' ? {} : { 'rotate-block': rotateBlock(work) }),
    ...(spec.scaling === 'none' ? {} : { 'scale-block': scaleBlock(work) }),
    ...(calibrated
      ? {
          'embed-slice': embedSlice(work),
          'calibrate-slice': most(work, (stage) => calibrateSlice(stage, work)) + sumMismatch(mismatches, work),
          ...(spec.order === 'independent' || spec.scaling !== 'none' ? { 'merge-hessian': mergeHessian } : {}),
        }
      : {}),
    'quantize-linears': Math.max(mergeHessian, quantize + solveMismatch + largest(damped)),
    'pack-layer': packLayer(work),
    ...(spec.evaluation ? { evaluate: evaluate(work, spec.evaluation) } : {}),
  };
}

/** The largest tensor as it was, as float32, and as it is handed on. */
function rotateBlock({ plan }: WorkToDo): number {
  const bytes = Object.values(plan.tensors).map(
    (tensor) => tensor.bytes + 2 * FLOAT_BYTES * elementCount(tensor.shape),
  );
  return largest(bytes);
}

/** The Hessian as read, scaled, and in float64; all weights of a group as read and as float32, and the rows that are searched three times more at most. */
function scaleBlock(work: WorkToDo): number {
  const groups = scaledGroups(work).flat();
  return largest(
    groups.map(({ linears }) => {
      const weights = total(linears.map(({ rows, columns }) => rows * columns));
      return (2 * FLOAT_BYTES + 8) * (linears[0]?.columns ?? 0) ** 2 + weights * 5 * FLOAT_BYTES;
    }),
  );
}

/** The table as it lies in the file, all tokens, the hidden states and, at most as large, the rows that they are decoded from. */
function embedSlice({ plan, spec, architecture, shape }: WorkToDo): number {
  const table = plan.tensors[architecture.embedding];
  const { samples, sequenceLength } = spec.calibration;
  const hidden = sliceTokens(plan.slices, sequenceLength) * shape.hiddenSize * FLOAT_BYTES;
  return (table?.bytes ?? 0) + 4 * samples * sequenceLength + 2 * hidden;
}

/**
 * Weights as float32 and packed, with the largest one's bytes; of activations three batches that come in and four that go out (one is
 * read, one lies ready, one is run, one is written); XᵀX in float64 and float32; temporaries. Twice the batches, since the next slice waits already.
 */
function calibrateSlice(stage: Stage, { plan, spec, shape }: WorkToDo): number {
  const { applies, reads, changes } = stage;
  const { sequenceLength } = spec.calibration;
  const sequences = stageBatchSequences({ stage, shape, sequenceLength });
  const tokens = Math.min(sliceTokens(plan.slices, sequenceLength), sequences * sequenceLength);
  const weights = total(applies.map(({ rows, columns }) => rows * columns)) * (FLOAT_BYTES + PACKED_BYTES);
  const largestBytes = largest(applies.map((linear) => plan.tensors[`${linear.name}.weight`]?.bytes ?? 0));
  const width = (names: readonly string[]) => total(names.map((activation) => activationFeatures(activation, shape)));
  const batches = 2 * (3 * width(reads) + 4 * width(changes)) * tokens * FLOAT_BYTES;
  const gram = (8 + FLOAT_BYTES) * gramEntries(stage, spec);
  const temporaries = Math.max(STAGE_TEMPORARY_BYTES, stageTemporaryBytesPerSequence(stage, shape, sequenceLength));
  return weights + batches + largestBytes + gram + temporaries;
}

/** Of the linears that have one, the largest sums in float64, a part of them and the result in float32; the original's hidden state in five batches. */
function sumMismatch(linears: readonly LinearPlan[], { spec, shape }: WorkToDo): number {
  if (linears.length === 0) return 0;
  const sums = linears.map(({ rows, columns }) => (8 + 2 * FLOAT_BYTES) * (rows + columns) * columns);
  const tokens = Math.max(BATCH_TOKENS, spec.calibration.sequenceLength);
  return largest(sums) + 5 * tokens * shape.hiddenSize * FLOAT_BYTES;
}

/**
 * The Hessian as read (float32), scaled, permuted and factored (float64 each); the largest linear as read, as float32, being worked
 * on (float32 twice), its codes and its serialized result.
 */
function quantizeLinears(stage: Stage, calibrated: boolean): number {
  const { captures } = stage;
  const columns = widestInput(stage);
  const hessian = calibrated ? (FLOAT_BYTES + 3 * 8) * columns ** 2 : 0;
  return hessian + largest(captures.map(({ rows }) => rows)) * columns * (4 + 3 * FLOAT_BYTES + 2);
}

/**
 * Packing: all tensors of the block as they are kept or packed, twice (tensors, file), and one quantized linear. Verifying: the file, at most as
 * large as the tensors, and of one linear the words as stored, the codes and the weight in float32.
 */
function packLayer({ plan }: WorkToDo): number {
  const bytesOf = (names: readonly string[]) => total(names.map((name) => plan.tensors[name]?.bytes ?? 0));
  const blocks = plan.blocks.map(({ tensors, stages }) => {
    const file = bytesOf(tensors);
    const linears = stages.flatMap((stage) => stage.linears);
    const packing = largest(linears.map(quantizedLinearBytes));
    const verifying = linears.map((linear) => quantizedLinearBytes(linear) + 5 * linear.rows * linear.columns);
    return file + Math.max(file + packing, largest(verifying));
  });
  return Math.max(2 * bytesOf(plan.remainder), ...blocks);
}

/** One layer's weights or the head's as float32, the embedding, the activations of a pass, and the logits of one window. */
function evaluate(
  { plan, architecture, blocks, shape }: WorkToDo,
  { context, maxTokens }: { readonly context: number; readonly maxTokens: number },
): number {
  const layers = blocks.map(({ tensors }) => total([...tensors.values()].map(elementCount)));
  const head = shape.vocabularySize * shape.hiddenSize;
  const embedding = plan.tensors[architecture.embedding]?.bytes ?? 0;
  const perToken = (2 * shape.hiddenSize + Math.max(shape.hiddenSize, feedForwardFeatures(shape))) * FLOAT_BYTES;
  const activations = Math.max(perToken * context, Math.min(perToken * maxTokens, EVALUATION_ACTIVATION_BYTES));
  const logits = context * shape.vocabularySize * FLOAT_BYTES;
  return Math.max(head, largest(layers)) * FLOAT_BYTES + embedding + activations + logits;
}

function most({ blocks }: WorkToDo, bytes: (stage: Stage) => number): number {
  return largest(blocks.flatMap(({ stages }) => stages.map(bytes)));
}

function sliceTokens(slices: WorkToDo['plan']['slices'], sequenceLength: number): number {
  return largest(slices.map(({ sequences }) => sequences)) * sequenceLength;
}

/** Of experts one after the other is merged and solved. */
function widestInput({ captures }: Stage): number {
  return largest(captures.map(({ columns }) => columns));
}
