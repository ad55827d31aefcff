import { architectureOf, type ModelShape } from '../../../models';
import { type LinearPlan, type ModelPlan, QuantloomError, type SourceTensor } from '../../../spec';
import type { KeptStorage } from '../../format';
import { shardOfTensors } from '../../opened-shard';
import type { BlockTypeName } from '../blocks/block-type';
import { gridBlockType } from '../linear-blocks';
import type { GgufArchitecture } from './gguf-architecture';
import { ggufArchitectureOf } from './gguf-architectures';
import { type GgufTensorPlan, planGgufTensors } from './plan-gguf-tensors';

export interface GgufTensors {
  readonly architecture: GgufArchitecture;
  readonly shape: ModelShape;
  /** In the order of the shards. */
  readonly tensors: readonly GgufTensorPlan[];
  /** By the names of the source: which shard holds it. */
  readonly shardOf: ReadonlyMap<string, number>;
}

/** What a matrix that is not quantized may be stored as: what it is. */
const KEPT_TYPES: readonly string[] = ['F32', 'F16', 'BF16'] satisfies BlockTypeName[];

/**
 * The tensors of a planned model's file.
 *
 * @param linears of the plan, as they are written.
 * @param config of the model that is written.
 * @throws QuantloomError UnsupportedArchitecture, UnsupportedInput naming a tensor.
 */
export function ggufTensorsOf({
  plan,
  linears,
  config,
  kept = {},
}: {
  readonly plan: Pick<ModelPlan, 'blocks' | 'remainder' | 'tensors'>;
  readonly linears: readonly LinearPlan[];
  readonly config: Readonly<Record<string, unknown>>;
  /** Of kept matrices that become blocks. */
  readonly kept?: KeptStorage;
}): GgufTensors {
  const model = architectureOf(config, (name) => name in plan.tensors);
  const shape = model.shape(config);
  const architecture = ggufArchitectureOf(model.name);
  const quantized = new Map<string, LinearPlan>();
  for (const linear of linears) if (linear.recipe) quantized.set(`${linear.name}.weight`, linear);
  const shardOf = shardOfTensors(plan, (module) => quantized.has(`${module}.weight`));
  const shapeOf = (name: string) => {
    const linear = quantized.get(name);
    return linear ? [linear.rows, linear.columns] : (plan.tensors[name] as SourceTensor).shape;
  };
  return {
    architecture,
    shape,
    shardOf,
    tensors: planGgufTensors({
      architecture,
      shape,
      config,
      tensors: [...shardOf.keys()].map((name) => ({ name, shape: shapeOf(name), quantized: quantized.has(name) })),
      typeOf: (name) =>
        (kept[name]?.as as BlockTypeName | undefined) ?? typeOf(name, quantized.get(name), plan.tensors[name]?.dtype),
    }),
  };
}

function typeOf(name: string, linear: LinearPlan | undefined, dtype: string | undefined): BlockTypeName {
  if (linear?.recipe) {
    if (linear.recipe.blockType) return linear.recipe.blockType;
    const found = gridBlockType(linear.recipe, linear.columns);
    if ('type' in found) return found.type;
    throw new QuantloomError('UnsupportedInput', `${name} cannot be stored in GGUF: ${found.refusal}.`);
  }
  if (dtype && KEPT_TYPES.includes(dtype)) return dtype as BlockTypeName;
  throw new QuantloomError('UnsupportedInput', `${name} is ${dtype}; GGUF holds ${KEPT_TYPES.join(', ')}.`);
}
