import { join } from 'node:path';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { type JobEvent, jobEvents } from '../job-events';
import { jobCallError } from '../job-failure';
import { openSession } from '../session';

/** What Temporal's history says of a job and its layers; needs no workers. */
export const logs: CommandDefinition = {
  async run(invocation) {
    const id = invocation.args[0] as string;
    const session = await openSession(invocation, { purpose: 'logs', workers: { control: 0, cpu: 0, gpu: 0 } });
    try {
      const events = await jobEvents(session.client, id);
      invocation.output.result({ id, events }, events.map(lineOf).join('\n'));
      if (session.stack) invocation.output.note(`logs of the workers: ${join(invocation.settings.home, 'logs')}`);
      return EXIT.done;
    } catch (error) {
      throw jobCallError(error, id);
    } finally {
      await session.close();
    }
  },
};

function lineOf({ time, layer, what, event, attempt, error }: JobEvent): string {
  const where = layer === null ? '' : `layer ${layer}: `;
  const again = attempt !== null && attempt > 1 ? ` (attempt ${attempt})` : '';
  return `${time.slice(0, 19).replace('T', ' ')}  ${where}${what} ${event}${again}${error === null ? '' : `: ${error}`}`;
}
