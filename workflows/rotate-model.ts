import type { RotatedBlock } from '../activities';
import { onCpu } from './activity-proxies';
import { inWindow } from './in-window';
import type { Job } from './job';
import type { PreparedModel } from './prepare-model';

/** Blocks that are rotated side by side. */
const BLOCKS_AT_ONCE = 8;

/** The model in another basis, in which weights are easier to round: block after block, then what no block owns. */
export async function rotateModel<Model extends Pick<PreparedModel, 'plan' | 'table' | 'blocks'>>(
  model: Model,
  job: Job,
): Promise<Model> {
  const { plan, table, blocks } = model;
  const rotate = (block: number | null, name: string): Promise<RotatedBlock> =>
    onCpu(`rotate ${name}`).rotateBlock({ plan, table, block });
  const parts = await job.step('rotating', () =>
    inWindow(
      [
        ...blocks.map(
          ({ index, name }) =>
            () =>
              rotate(index, name),
        ),
        () => rotate(null, 'what no layer owns'),
      ],
      () => BLOCKS_AT_ONCE,
      (work) => work(),
    ),
  );
  const joined = await job.step('rotating', () =>
    onCpu('join tables').joinTables({ table, parts: parts.map(({ tensors }) => tensors) }),
  );
  return { ...model, table: joined.table };
}
