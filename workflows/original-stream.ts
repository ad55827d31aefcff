import type { ActivationRefs, BlockOutline } from '../activities';
import type { LayerHands, StagePlace } from './layer-hands';
import type { OriginalSoFar } from './quantize-layer';

/** The original model on its way through a layer, beside the one that is being quantized. By slice. */
export interface OriginalStream {
  /** What a stage leaves behind, when it gets there. */
  behind(place: StagePlace): Promise<readonly ActivationRefs[]>;
  /** What the stage after the layer's last one leaves behind; the layer's last one, where no stage follows. */
  readonly last: Promise<readonly ActivationRefs[]>;
}

/** Starts it behind the layer's first stage, which applies nothing of this layer. */
export function originalStream(
  hands: Pick<LayerHands, 'runOriginal'>,
  { index, stages }: BlockOutline,
  { activations, next }: OriginalSoFar,
): OriginalStream {
  const places = stages.slice(1).map(({ name }) => ({ block: index, stage: name }));
  const left = new Map<string, Promise<readonly ActivationRefs[]>>();
  let last: Promise<readonly ActivationRefs[]> = Promise.resolve(activations);
  for (const place of next ? [...places, next] : places) {
    last = last.then((slices) => hands.runOriginal(place, slices));
    // Whoever waits for it is told.
    last.catch(() => undefined);
    left.set(keyOf(place), last);
  }
  return { behind: (place) => left.get(keyOf(place)) as Promise<readonly ActivationRefs[]>, last };
}

function keyOf({ block, stage }: StagePlace): string {
  return `${block} ${stage}`;
}
