import Table from 'cli-table3';
import { WORKFLOWS } from '../../engine/spec';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { jobState } from '../job-state';
import { openSession } from '../session';

export const list: CommandDefinition = {
  configure(command) {
    command.option('--limit <n>', 'at most this many, newest first', wholeNumber, 50);
  },

  async run(invocation) {
    const session = await openSession(invocation, { purpose: 'list', workers: { control: 0, cpu: 0, gpu: 0 } });
    try {
      const jobs = [];
      const found = session.client.workflow.list({ query: `WorkflowType = '${WORKFLOWS.quantizeModel}'` });
      for await (const { workflowId, runId, status, startTime, closeTime, searchAttributes } of found) {
        if (jobs.length === (invocation.flags.limit as number)) break;
        const attribute = (name: string) => searchAttributes[name]?.[0] ?? null;
        jobs.push({
          id: workflowId,
          runId,
          state: jobState(status.name, { needsReview: attribute('QuantloomNeedsReview') === true }),
          model: attribute('QuantloomModel'),
          scheme: attribute('QuantloomScheme'),
          phase: attribute('QuantloomStage'),
          layersDone: attribute('QuantloomLayersDone'),
          perplexityDelta: attribute('QuantloomPerplexityDelta'),
          started: startTime.toISOString(),
          ended: closeTime?.toISOString() ?? null,
        });
      }
      const table = new Table({
        head: ['job', 'state', 'phase', 'layers', 'started'],
        style: { head: [], border: [] },
      });
      for (const job of jobs) {
        table.push([
          job.id,
          job.state,
          text(job.phase),
          text(job.layersDone),
          job.started.slice(0, 19).replace('T', ' '),
        ]);
      }
      invocation.output.result({ jobs }, jobs.length === 0 ? 'no jobs' : table.toString());
      return EXIT.done;
    } finally {
      await session.close();
    }
  },
};

function text(value: unknown): string {
  return value === null ? '' : String(value);
}
