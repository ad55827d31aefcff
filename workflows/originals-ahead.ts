import { startChild, workflowInfo } from '@temporalio/workflow';
import type { ActivationRefs, BlockOutline } from '../activities';
import { childOptions } from './child-options';
import type { Job } from './job';
import { type OriginalLayer, passOriginalLayer } from './pass-original-layer';
import type { PreparedModel } from './prepare-model';

/** The original model on its way through the layers, one ahead of those that are being quantized. */
export class OriginalsAhead {
  private next: { readonly index: number; readonly layer: Promise<OriginalLayer> } | null = null;

  constructor(
    private readonly model: PreparedModel,
    private readonly job: Job,
  ) {}

  /** What is behind the stages of a layer, when it gets there; null when neither this layer nor one after it asks. @param activations where the pass begins. */
  async at(block: BlockOutline, activations: readonly ActivationRefs[]): Promise<OriginalLayer | null> {
    if (!this.wanted(block)) return null;
    const layer = await (this.next?.index === block.index ? this.next.layer : this.pass(block, activations));
    const following = this.model.blocks[block.index + 1];
    this.next = following && this.wanted(following) ? this.ahead(following, layer.activations) : null;
    return layer;
  }

  /** Waits for the pass that is under way. */
  async settled(): Promise<void> {
    await this.next?.layer;
  }

  private wanted({ index }: BlockOutline): boolean {
    const { blocks, spec } = this.model;
    return spec.order === 'stage' && blocks.slice(index).some(({ stages }) => stages.some((stage) => stage.makesUpFor));
  }

  private ahead(block: BlockOutline, activations: readonly ActivationRefs[]) {
    const layer = this.pass(block, activations);
    layer.catch(() => undefined); // Whoever waits for it is told.
    return { index: block.index, layer };
  }

  private async pass(block: BlockOutline, activations: readonly ActivationRefs[]): Promise<OriginalLayer> {
    const { plan, table } = this.model;
    const { board, operator } = this.job;
    const result = await operator.reviewed(`${block.name} (original)`, null, async () => {
      const layer = await startChild(passOriginalLayer, {
        ...childOptions(`${workflowInfo().workflowId}/original-${block.index}`, `${block.name}: original`),
        args: [{ plan, table, block, activations }],
      });
      return operator.attend<OriginalLayer>(layer);
    });
    board.countedMany(result);
    return result;
  }
}
