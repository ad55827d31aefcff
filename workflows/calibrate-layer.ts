import type { ActivationRefs, BlockOutline } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { captureHessians, type MagnitudesByStage } from './capture-hessians';
import { layerHands } from './layer-hands';

export interface CalibratedLayer {
  /** By stage; null where its linears need none. */
  readonly hessians: Readonly<Record<string, ArtifactRef | null>>;
  /** Documents: the largest magnitudes of inputs, where they are needed. Absent from histories of before there were any. */
  readonly magnitudes?: MagnitudesByStage;
  /** Documents: WidthErrors[], by stage; none unless asked for. */
  readonly errors: readonly ArtifactRef[];
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  readonly computed: number;
  readonly cached: number;
  readonly secondsSaved: number;
}

/** The Hessians of one layer of the original model. Its solve is free to run anywhere, at any time after. */
export async function calibrateLayer(input: {
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: BlockOutline;
  readonly activations: readonly ActivationRefs[];
  readonly retired: readonly string[];
  /** Measure the error of every linear at every width too. */
  readonly measure: boolean;
}): Promise<CalibratedLayer> {
  const hands = layerHands(input);
  const errors: Record<string, ArtifactRef> = {};
  const captured = await captureHessians(hands, input.block, input.activations, {}, async (stage, grams) => {
    const hessian = grams && (await hands.mergeHessian(stage, grams));
    if (input.measure) errors[stage] = await hands.measureWidths(stage, hessian);
    return hessian;
  });
  const { hessians, magnitudes, activations } = captured;
  const retired = [...input.retired, ...hands.ledger.intermediates([...input.activations, ...activations])];
  if (retired.length > 0) {
    await onCpu(`${input.block.name} · drop activations`).dropActivations({ sha256s: retired });
  }
  const { computed, cached, secondsSaved } = hands.ledger.totals();
  const inOrder = input.block.stages.flatMap(({ name }) => errors[name] ?? []);
  return { hessians, magnitudes, errors: inOrder, activations, computed, cached, secondsSaved };
}
