import type { ScheduleDescription } from '@temporalio/client';
import type { RequantizeRequest } from '../../../engine/spec';
import type { CommandDefinition } from '../../command';
import { EXIT } from '../../exit-codes';
import { ruleText } from '../../promotion-rule';
import { callSchedule } from '../../schedule-call';
import { overlapNamed } from '../../schedule-policy';
import { lastRuns, outcomeText, type ScheduleRun } from '../../schedule-runs';
import { openSession } from '../../session';

const RUNS_SHOWN = 10;
const TIMES_SHOWN = 3;

export const describe: CommandDefinition = {
  async run(invocation) {
    const name = invocation.args[0] as string;
    const session = await openSession(invocation, { purpose: 'schedule', workers: { control: 0, cpu: 0, gpu: 0 } });
    try {
      const found = await callSchedule(session.client, name, (handle) => handle.describe());
      const document = documentOf(found, await lastRuns(session.client, found.info.recentActions, RUNS_SHOWN));
      invocation.output.result(document, textOf(document));
      return EXIT.done;
    } finally {
      await session.close();
    }
  },
};

function documentOf(
  { scheduleId, memo, state, spec, policies, action, info }: ScheduleDescription,
  runs: ScheduleRun[],
) {
  return {
    ...{ name: scheduleId, paused: state.paused, note: state.note ?? null },
    ...{ cron: String(memo?.cron), timeZone: spec.timezone ?? 'UTC', jitterSeconds: (spec.jitter ?? 0) / 1000 },
    ...{ overlap: overlapNamed(policies.overlap), catchUpSeconds: policies.catchupWindow / 1000 },
    pauseOnFailure: policies.pauseOnFailure,
    priority: action.priority ?? null,
    request: action.args?.[0] as RequantizeRequest,
    counts: {
      started: info.numActionsTaken,
      skippedForOverlap: info.numActionsSkippedOverlap,
      missed: info.numActionsMissedCatchupWindow,
    },
    next: info.nextActionTimes.slice(0, TIMES_SHOWN).map((time) => time.toISOString()),
    runs,
  };
}

function textOf(schedule: ReturnType<typeof documentOf>): string {
  const { name, paused, note, cron, timeZone, request, counts, next, runs } = schedule;
  const rows: [string, string][] = [
    ['schedule', `${name}${paused ? ', paused' : ''}${note ? ` (${note})` : ''}`],
    ['when', `${cron} ${timeZone}, up to ${schedule.jitterSeconds} s later; next ${next.join(', ') || 'never'}`],
    ['overlap', schedule.overlap],
    ['catch-up', `${schedule.catchUpSeconds} s`],
    ['pause on failure', schedule.pauseOnFailure ? 'yes' : 'no'],
    ['priority', String(schedule.priority?.priorityKey ?? 3)],
    ['model', request.spec.model],
    ['results in', request.spec.output],
    ['promoted when', ruleText(request.rule)],
    [
      'runs',
      `${counts.started} started, ${counts.skippedForOverlap} skipped for overlap, ${counts.missed} missed for good`,
    ],
    ...runs.map((run): [string, string] => [
      '',
      `${run.started}  ${outcomeText(run)}${run.reason ? `: ${run.reason}` : ''}  ${run.id}`,
    ]),
  ];
  return rows.map(([label, text]) => `${label.padEnd(17)}${text}`).join('\n');
}
