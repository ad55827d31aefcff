import { openStoredCodes, readTensor } from '../checkpoints';
import { addPositions, embed, scaleEmbedding } from '../graphs';
import { preferredKernels } from '../kernels';
import { architectureOf, type ResidualEnd, transposedWeights, weightTensor } from '../models';
import type { Architecture, Block, ModelShape, Stage } from '../models/architecture';
import { decodeFloats, transposedBytes } from '../numbers';
import { type AffineLinear, type PartialMismatch, type QuantizedLinear, serializeQuantizedLinear } from '../quantizers';
import { rotatedDtype, rotateTensor } from '../rotation';
import {
  DTYPE_BITS,
  type FloatTensor,
  type ModelPlan,
  type QuantizationSpec,
  type SourceTensor,
  type Tensor,
} from '../spec';
import { type StoredWeight, tensorThreads } from '../tensor-thread';
import { openImportance } from './open-importance';

/** By name, for one slice. */
export type Activations = Readonly<Record<string, FloatTensor>>;

/** By module name. */
export type QuantizedLinears = ReadonlyMap<string, QuantizedLinear>;

export interface StageOutcome {
  readonly activations: Activations;
  readonly gram: Float32Array | null;
  /** null when not asked for. */
  readonly magnitudes: readonly number[] | null;
  readonly tokens: number;
  /** null when not asked for. */
  readonly mismatch: PartialMismatch | null;
}

/** How a stage is run on a slice, and what for. */
export interface StageWishes {
  /** The linears that are applied as quantized. */
  readonly quantized: QuantizedLinears;
  readonly gram: boolean;
  /** The largest magnitude of each captured input. Default: not asked for. */
  readonly magnitudes?: boolean;
  /** What the captured input knows of what has gone wrong before the linear `end`; `hidden`: the original model behind it. */
  readonly original?: { readonly end: ResidualEnd; readonly hidden: FloatTensor };
}

interface SourceWeight extends Tensor {
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

/** A source model whose stages can be run. */
export interface DirectModel {
  readonly blocks: readonly Block[];
  /** As the source stores it. */
  tensor(name: string): Promise<Tensor>;
  /** The weight of a linear, and what it is stored in. */
  weight(module: string): Promise<FloatTensor & Pick<SourceWeight, 'dtype'>>;
  /** The codes of a linear, as a quantized source has them. */
  storedCodes(module: string): Promise<AffineLinear>;
  /** Mean squares of its input features, where they are read from a file. */
  importance(module: string): Promise<Float32Array | undefined>;
  embed(tokens: Int32Array, sequenceLength: number): Promise<Activations>;
  runStage(stage: Stage, activations: Activations, wishes: StageWishes): Promise<StageOutcome>;
}

export function openDirectModel(
  plan: ModelPlan,
  { rotation, calibration: { precision, originalShare } }: Pick<QuantizationSpec, 'rotation' | 'calibration'>,
  { threads }: { readonly threads: number },
): DirectModel {
  const architecture: Architecture = architectureOf(plan.config, (name) => name in plan.tensors);
  const shape: ModelShape = architecture.shape(plan.config);
  const rotations = rotation === 'hadamard' ? architecture.rotations(shape, (name) => name in plan.tensors) : null;
  const source = (name: string) => readTensor(plan.directory, plan.tensors[name] as SourceTensor);
  const tensor = async (name: string) => {
    const turned = rotations?.get(name);
    if (!turned) return source(name);
    const gain = turned.gain ? await source(turned.gain) : null;
    return rotateTensor({ tensor: await source(name), gain, rotation: turned, dtype: rotatedDtype(plan, name) });
  };
  const blocks = architecture.blocks(shape, (name) => name in plan.tensors);
  const transposedNames = transposedWeights(blocks);
  /** Linears as `[rows, columns]`. */
  const upright = async (name: string): Promise<Tensor> => {
    const stored = await tensor(name);
    if (!transposedNames.has(name)) return stored;
    const [columns, rows] = stored.shape as [number, number];
    const { dtype } = stored;
    return { dtype, shape: [rows, columns], data: transposedBytes(stored.data, columns, DTYPE_BITS[dtype] / 8) };
  };
  const floats = async (name: string) => {
    const stored = await upright(name);
    return { dtype: stored.dtype as SourceWeight['dtype'], shape: stored.shape, data: decodeFloats(stored) };
  };
  return {
    blocks,
    importance: openImportance(plan),
    storedCodes: async (module) => (await openStoredCodes(plan.origin?.dequantized as string))(module),
    tensor,
    weight: (module) => floats(weightTensor(architecture, module, (name) => name in plan.tensors)),
    async embed(tokens, sequenceLength) {
      const data = scaleEmbedding(embed(tokens, await floats(architecture.embedding)), shape);
      if (architecture.positions) addPositions(data, await floats(architecture.positions), { shape, sequenceLength });
      return { hidden: { shape: [tokens.length / sequenceLength, sequenceLength, shape.hiddenSize], data } };
    },
    async runStage(stage, activations, { quantized, gram, magnitudes = false, original }) {
      const weights: Record<string, StoredWeight> = {};
      for (const name of Object.values(stage.parameters)) weights[name] = await tensor(name);
      for (const { name, bias } of original ? [...stage.applies, original.end.linear] : stage.applies) {
        const linear = quantized.get(name);
        weights[`${name}.weight`] = linear
          ? { quantized: serializeQuantizedLinear(linear) }
          : await upright(`${name}.weight`);
        if (bias) weights[`${name}.bias`] = await tensor(`${name}.bias`);
      }
      const runner = { architecture: architecture.name, shape, threads, precision, kernels: preferredKernels() };
      // The thread takes the arrays over; a caller may need them once more.
      const given = stage.reads.map((name) => {
        const { data, shape: dimensions } = activations[name] as FloatTensor;
        return [name, { shape: dimensions, data: data.slice() }];
      });
      const task = { runner, stage, gram, magnitudes, weights, activations: Object.fromEntries(given) };
      const behind = original && {
        mismatch: { linear: original.end.linear, input: original.end.input, gram: originalShare < 1 },
        original: { shape: original.hidden.shape, data: original.hidden.data.slice() },
      };
      const result = await tensorThreads().runStage({ ...task, ...behind });
      const { gram: sum, tokens, mismatch } = result;
      const { magnitudes: largest } = result;
      return { activations: Object.fromEntries(result.activations), gram: sum, magnitudes: largest, tokens, mismatch };
    },
  };
}
