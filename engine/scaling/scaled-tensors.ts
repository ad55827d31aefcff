import type { ModelPlan } from '../spec';
import type { ScalingGroup } from './scaling-groups';

type Planned = Pick<ModelPlan, 'blocks' | 'tensors'>;

/** Groups of a block of which every linear is quantized, the one before too: what is kept in 16 bit stays what the source has. */
export function plannedGroups(plan: Planned, block: number, groups: readonly ScalingGroup[]): ScalingGroup[] {
  const quantized = new Set(
    (plan.blocks[block]?.stages ?? []).flatMap(({ linears }) =>
      linears.filter(({ recipe }) => recipe).map(({ name }) => name),
    ),
  );
  return groups.filter(({ linears, before }) =>
    [...linears, ...('linear' in before ? [before.linear] : [])].every(({ name }) => quantized.has(name)),
  );
}

/** A tensor that scales are folded into, and how. */
export interface TensorScaling {
  readonly name: string;
  /** Whether its columns are multiplied; else its rows, from `firstRow` on, are divided. */
  readonly columns: boolean;
  readonly firstRow: number;
  /** What the stored numbers are less than those that are meant; absent: nothing. */
  readonly offset?: number;
  /** What is quantized is handed on in float32, so that nothing is rounded twice; the rest in the dtype of the source. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

/** The tensors that a group changes. */
export function scaledTensors(
  { tensors }: Pick<ModelPlan, 'tensors'>,
  { linears, before }: ScalingGroup,
): TensorScaling[] {
  const stored = (name: string) => tensors[name]?.dtype as TensorScaling['dtype'];
  const after = linears.map(({ name }) => ({
    name: `${name}.weight`,
    columns: true,
    firstRow: 0,
    dtype: 'F32' as const,
  }));
  if ('norm' in before) {
    const { norm, gainOffset } = before;
    const divided = norm.map((name) => ({ name, columns: false, firstRow: 0, dtype: stored(name) }));
    return [
      ...after,
      ...divided.map((gain, i) => (i === 0 && gainOffset !== 0 ? { ...gain, offset: gainOffset } : gain)),
    ];
  }
  const { linear, firstRow } = before;
  const divided = { columns: false, firstRow };
  return [
    ...after,
    { name: `${linear.name}.weight`, ...divided, dtype: 'F32' },
    ...(linear.bias ? [{ name: `${linear.name}.bias`, ...divided, dtype: stored(`${linear.name}.bias`) }] : []),
  ];
}
