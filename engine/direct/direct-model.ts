import { readTensor } from '../checkpoints';
import { activationDtype, embed, mismatchBatchSequences } from '../graphs';
import { type GramPrecision, preferredKernels } from '../kernels';
import { architectureOf, type ResidualEnd, weightTensor } from '../models';
import type { Architecture, Block, ModelShape, Stage } from '../models/architecture';
import { decodeFloats, encodeBfloat16 } from '../numbers';
import { type PartialMismatch, type QuantizedLinear, serializeQuantizedLinear } from '../quantizers';
import { rotatedDtype, rotateTensor } from '../rotation';
import type { FloatTensor, ModelPlan, QuantizationSpec, SourceTensor, Tensor } from '../spec';
import { type StoredWeight, tensorThreads } from '../tensor-thread';

/** By name, for one slice. */
export type Activations = Readonly<Record<string, FloatTensor>>;

/** By module name. */
export type QuantizedLinears = ReadonlyMap<string, QuantizedLinear>;

export interface StageOutcome {
  readonly activations: Activations;
  readonly gram: Float32Array | null;
  readonly tokens: number;
}

/** A source model whose stages can be run. */
export interface DirectModel {
  readonly blocks: readonly Block[];
  tensor(name: string): Promise<Tensor>;
  /** The weight of a linear. */
  weight(module: string): Promise<FloatTensor>;
  embed(tokens: Int32Array, sequenceLength: number): Promise<Activations>;
  runStage(stage: Stage, activations: Activations, quantized: QuantizedLinears, gram: boolean): Promise<StageOutcome>;
  /** Σ (h₀ + W x₀ - h) xᵀ of a slice: `left` by the stage that captures x, `original` the hidden state of the original model behind W. */
  mismatch(end: ResidualEnd, left: Activations, original: FloatTensor): Promise<PartialMismatch>;
}

export function openDirectModel(
  plan: ModelPlan,
  {
    threads,
    rotation,
    precision,
  }: { readonly threads: number; readonly rotation: QuantizationSpec['rotation']; readonly precision: GramPrecision },
): DirectModel {
  const architecture: Architecture = architectureOf(plan.config);
  const shape: ModelShape = architecture.shape(plan.config);
  const rotations = rotation === 'hadamard' ? architecture.rotations(shape, (name) => name in plan.tensors) : null;
  const source = (name: string) => readTensor(plan.directory, plan.tensors[name] as SourceTensor);
  const tensor = async (name: string) => {
    const turned = rotations?.get(name);
    if (!turned) return source(name);
    const gain = turned.gain ? await source(turned.gain) : null;
    return rotateTensor({ tensor: await source(name), gain, rotation: turned, dtype: rotatedDtype(plan, name) });
  };
  const floats = async (name: string): Promise<FloatTensor> => {
    const stored = await tensor(name);
    return { shape: stored.shape, data: decodeFloats(stored) };
  };
  return {
    blocks: architecture.blocks(shape, (name) => name in plan.tensors),
    tensor,
    weight: (module) => floats(weightTensor(architecture, module, (name) => name in plan.tensors)),
    async embed(tokens, sequenceLength) {
      const data = embed(tokens, await floats(architecture.embedding));
      return { hidden: { shape: [tokens.length / sequenceLength, sequenceLength, shape.hiddenSize], data } };
    },
    async runStage(stage, activations, quantized, gram) {
      const weights: Record<string, StoredWeight> = {};
      for (const name of Object.values(stage.parameters)) weights[name] = await tensor(name);
      for (const { name, bias } of stage.applies) {
        const linear = quantized.get(name);
        weights[`${name}.weight`] = linear
          ? { quantized: serializeQuantizedLinear(linear) }
          : await tensor(`${name}.weight`);
        if (bias) weights[`${name}.bias`] = await tensor(`${name}.bias`);
      }
      const runner = { architecture: architecture.name, shape, threads, precision, kernels: preferredKernels() };
      // The thread takes the arrays over; a caller may need them once more.
      const given = stage.reads.map((name) => {
        const { data, shape: dimensions } = activations[name] as FloatTensor;
        return [name, { shape: dimensions, data: data.slice() }];
      });
      const task = { runner, stage, gram, weights, activations: Object.fromEntries(given) };
      const result = await tensorThreads().runStage(task);
      return { activations: Object.fromEntries(result.activations), gram: result.gram, tokens: result.tokens };
    },
    async mismatch({ linear: { name, rows, columns, bias }, input }, left, original) {
      const { hidden, [input]: captured } = left as { hidden: FloatTensor; [input: string]: FloatTensor };
      const [sequences, sequenceLength] = hidden.shape as [number, number];
      const added = bias ? (await floats(`${name}.bias`)).data : null;
      const options = { rows, columns, sequenceLength, bias: added, threads, kernels: preferredKernels() };
      const stream = await tensorThreads().openMismatch(options);
      try {
        const perBatch = mismatchBatchSequences(sequenceLength);
        for (let first = 0; first < sequences; first += perBatch) {
          const end = Math.min(sequences, first + perBatch);
          const part = ({ data }: FloatTensor) =>
            data.subarray((first * data.length) / sequences, (end * data.length) / sequences);
          const x = part(captured as FloatTensor);
          const inputs = {
            hidden: sharedFloats(part(hidden)),
            original: sharedFloats(part(original)),
            // As it is stored where there is a store.
            captured: activationDtype(input, precision) === 'BF16' ? sharedBfloat16(x) : sharedFloats(x),
          };
          await stream.run({ sequences: end - first, inputs, outputs: {} });
        }
        const { gram, tokens } = await stream.finish();
        return { sum: gram as Float32Array, tokens };
      } finally {
        stream.close();
      }
    },
  };
}

function sharedBfloat16(values: Float32Array): Uint16Array<SharedArrayBuffer> {
  const shared = new Uint16Array(new SharedArrayBuffer(2 * values.length));
  encodeBfloat16(values, shared);
  return shared;
}

function sharedFloats(values: Float32Array): Float32Array<SharedArrayBuffer> {
  const shared = new Float32Array(new SharedArrayBuffer(values.byteLength));
  shared.set(values);
  return shared;
}
