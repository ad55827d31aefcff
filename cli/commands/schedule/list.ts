import Table from 'cli-table3';
import { WORKFLOWS } from '../../../engine/spec';
import type { CommandDefinition } from '../../command';
import { EXIT } from '../../exit-codes';
import { lastRuns, outcomeText } from '../../schedule-runs';
import { openSession } from '../../session';

export const list: CommandDefinition = {
  async run(invocation) {
    const session = await openSession(invocation, { purpose: 'schedule', workers: { control: 0, cpu: 0, gpu: 0 } });
    try {
      const { client } = session;
      const schedules = [];
      for await (const { scheduleId } of client.schedule.list()) {
        const found = await client.schedule
          .getHandle(scheduleId)
          .describe()
          .catch(() => null);
        if (found?.action.workflowType !== WORKFLOWS.requantizeModel) continue;
        const { memo = {}, state, info } = found;
        const [last = null] = await lastRuns(client, info.recentActions, 1);
        schedules.push({
          ...{ name: scheduleId, cron: memo.cron, timeZone: found.spec.timezone ?? 'UTC' },
          ...{ model: memo.model, releases: memo.releases, paused: state.paused, note: state.note ?? null },
          next: info.nextActionTimes[0]?.toISOString() ?? null,
          last,
        });
      }
      const table = new Table({ head: ['schedule', 'cron', 'next', 'last', 'why'], style: { head: [], border: [] } });
      for (const { name, cron, paused, next, last } of schedules) {
        const due = paused ? 'paused' : (next ?? 'never').slice(0, 16).replace('T', ' ');
        table.push([name, String(cron), due, last ? outcomeText(last) : '', last?.reason ?? '']);
      }
      invocation.output.result({ schedules }, schedules.length === 0 ? 'no schedules' : table.toString());
      return EXIT.done;
    } finally {
      await session.close();
    }
  },
};
