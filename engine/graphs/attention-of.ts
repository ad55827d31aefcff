import type { LayerAttention, ModelShape, Stage } from '../models/architecture';

/** How a stage attends, whether or not its architecture has layers that differ in it. */
export function attentionOf({ attention }: Pick<Stage, 'attention'>, { rotary }: ModelShape): LayerAttention {
  return attention ?? { window: null, rotary };
}
