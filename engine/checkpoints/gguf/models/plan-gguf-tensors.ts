import type { ModelShape } from '../../../models';
import { QuantloomError } from '../../../spec';
import type { BlockTypeName } from '../blocks/block-type';
import type { GgufTensor } from '../container/layout-gguf';
import type { GgufArchitecture } from './gguf-architecture';
import { planExpertStack, stacksOf } from './plan-expert-stack';
import { rotaryRowOrder } from './rotary-row-order';
import { expertOf, ggufTensorName, isAlwaysFloat32, isGain, isTransposed } from './tensor-names';

/** A tensor of a GGUF file and where its values come from. */
export interface GgufTensorPlan extends GgufTensor {
  /** Name in the source; null for one that only GGUF has (`GgufArchitecture.extraTensors`). */
  readonly source: string | null;
  /** Of a stack `[experts, rows, columns]`: the names of all in the source, which stand one after the other. `source` is the first. Absent: it is none. */
  readonly experts?: readonly string[];
  /** The source holds the transpose, `[columns, rows]`. */
  readonly transposed: boolean;
  /** What is added to the source's values: gains of norms may be stored less an offset. */
  readonly added: number;
  /** Which row of the source stands at each row of the file; null: as in the source. */
  readonly rowOrder: Int32Array | null;
}

export interface NamedTensor {
  readonly name: string;
  /** As it is given: what the source holds as `[columns, rows]` so, a linear that was quantized as `[rows, columns]`. */
  readonly shape: readonly number[];
  /** It was quantized. */
  readonly quantized?: boolean;
}

export interface PlanGgufTensorsOptions {
  readonly architecture: GgufArchitecture;
  readonly shape: ModelShape;
  /** config.json */
  readonly config: Readonly<Record<string, unknown>>;
  /** Of the source, in the order in which they are to be written. */
  readonly tensors: readonly NamedTensor[];
  /** What a matrix is stored as, by its name in the source. Vectors (norms, biases) are F32: llama.cpp computes with nothing else. */
  typeOf(name: string): BlockTypeName;
}

/** Buffers that old checkpoints hold, and that follow from config.json. */
const DERIVED = /\.(rotary_emb\.inv_freq|attn\.(masked_)?bias)$/;

/**
 * Which tensors a GGUF file of a model holds. A head that is tied to the embedding is not among them, llama.cpp takes the
 * embedding.
 *
 * @throws QuantloomError UnsupportedInput naming a tensor that the architecture has no name for, or what llama.cpp does not compute.
 */
export function planGgufTensors(options: PlanGgufTensorsOptions): readonly GgufTensorPlan[] {
  const { architecture, shape, config, tensors, typeOf } = options;
  const refusal = architecture.refuse(
    shape,
    tensors.map(({ name }) => name),
  );
  if (refusal) {
    const message = `The model cannot be written to GGUF: ${refusal}. Formats such as compressed-tensors hold it as it is.`;
    throw new QuantloomError('UnsupportedInput', message);
  }
  const plans: GgufTensorPlan[] = [];
  const stacks = stacksOf(tensors, ({ name }) => ggufTensorName(architecture, name));
  for (const tensor of tensors) {
    const name = ggufTensorName(architecture, tensor.name);
    if (DERIVED.test(tensor.name) || (tensor.name === 'lm_head.weight' && shape.tiedHead)) continue;
    if (name === null) {
      throw new QuantloomError(
        'UnsupportedInput',
        `Tensor ${JSON.stringify(tensor.name)} has no name in GGUF's architecture ${architecture.name}; the model cannot be written without it.`,
        { details: { tensor: tensor.name } },
      );
    }
    if (expertOf(tensor.name) !== null) {
      // Where the first of them stands: what is behind it may lie in another shard.
      const stack = stacks.get(name) ?? [];
      if (stack[0] === tensor) plans.push(planExpertStack(name, stack, shape, typeOf));
      continue;
    }
    const heads = architecture.permutedHeads(tensor.name.replace(/\.(weight|bias)$/, ''), shape);
    const transposed = !tensor.quantized && isTransposed(architecture, tensor.name);
    plans.push({
      name,
      shape: shapeInFile(name, tensor.shape, transposed),
      type: tensor.shape.length === 1 || isAlwaysFloat32(name) ? 'F32' : typeOf(tensor.name),
      source: tensor.name,
      transposed,
      added: isGain(name) ? (shape.gainOffset ?? 0) : 0,
      rowOrder: heads === 0 ? null : rotaryRowOrder(tensor.shape[0] as number, heads),
    });
  }
  for (const [name, values] of architecture.extraTensors(shape, config)) {
    plans.push({
      name,
      shape: [values.length],
      type: 'F32',
      source: null,
      rowOrder: null,
      transposed: false,
      added: 0,
    });
  }
  return plans;
}

function shapeInFile(name: string, shape: readonly number[], transposed: boolean): readonly number[] {
  // What weighs the shared expert is a vector, as llama.cpp's quantize writes it and transformers reads it.
  if (name.endsWith('.ffn_gate_inp_shexp.weight')) return shape.slice(-1);
  return transposed ? shape.toReversed() : shape;
}
