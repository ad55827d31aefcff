import type { Command } from 'commander';
import { type Progress, UPDATES } from '../../engine/spec';
import type { CommandDefinition, Invocation } from '../command';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { jobCallError } from '../job-failure';
import { progressBlock } from '../progress-view';
import { CONTROL_ONLY, openSession } from '../session';

interface Steering {
  readonly update: string;
  readonly done: string;
  /** Whether the command takes --layer. */
  readonly layer: 'none' | 'optional' | 'required';
}

export const pause = steeringCommand({ update: UPDATES.pause, done: 'paused', layer: 'none' });
export const resume = steeringCommand({ update: UPDATES.resume, done: 'resumed', layer: 'none' });
export const cancel = steeringCommand({ update: UPDATES.cancel, done: 'cancelled', layer: 'none' });
export const retry = steeringCommand({ update: UPDATES.retryLayer, done: 'tried again', layer: 'optional' });
export const skip = steeringCommand({ update: UPDATES.skipLayer, done: 'layer kept in 16 bit', layer: 'required' });

/** A command that sends one Update to a job and prints the progress after it. */
function steeringCommand({ update, done, layer }: Steering): CommandDefinition {
  return {
    configure(command: Command) {
      if (layer === 'optional')
        command.option('--layer <n>', 'the layer; default: the step that needs review', wholeNumber);
      if (layer === 'required') command.requiredOption('--layer <n>', 'the layer', wholeNumber);
    },

    async run(invocation: Invocation) {
      const id = invocation.args[0] as string;
      const session = await openSession(invocation, { purpose: update, workers: CONTROL_ONLY });
      try {
        const handle = session.client.workflow.getHandle(id);
        const choice = { layer: invocation.flags.layer as number | undefined };
        const progress =
          layer === 'none'
            ? await handle.executeUpdate<Progress, []>(update)
            : await handle.executeUpdate<Progress, [typeof choice]>(update, { args: [choice] });
        invocation.output.result({ id, progress }, [`${id}  ${done}`, ...progressBlock(progress)].join('\n'));
        if (!session.outlives && !session.stack?.host) {
          invocation.output.note(
            'no workers run now: the job goes on when its `quantize` command is run again, or with `quantloom up`',
          );
        }
        return EXIT.done;
      } catch (error) {
        throw jobCallError(error, id);
      } finally {
        await session.close();
      }
    },
  };
}
