import type { ScheduleOptions, ScheduleOverlapPolicy } from '@temporalio/client';
import { type Command, Option } from 'commander';
import { durationSeconds } from './flag-values';

/** What may happen when a run is due while the one before it still runs. */
export const OVERLAPS = {
  skip: 'SKIP',
  'buffer-one': 'BUFFER_ONE',
  'buffer-all': 'BUFFER_ALL',
  'cancel-other': 'CANCEL_OTHER',
  'terminate-other': 'TERMINATE_OTHER',
  'allow-all': 'ALLOW_ALL',
} as const satisfies Record<string, ScheduleOverlapPolicy>;
export type Overlap = keyof typeof OVERLAPS;

/** Everything is told to the server, so that no default of its own holds. */
export interface SchedulePolicy {
  readonly overlap: Overlap;
  readonly catchUpSeconds: number;
  readonly jitterSeconds: number;
  readonly pauseOnFailure: boolean;
  /** IANA name. */
  readonly timeZone: string;
}

export function addPolicyFlags(command: Command): void {
  command
    .addOption(
      new Option('--overlap <policy>', 'when a run is due and the one before it still runs')
        .choices(Object.keys(OVERLAPS))
        .default('skip'),
    )
    .option(
      '--catch-up <time>',
      'after an outage, make up for runs missed by up to this, e.g. 6h',
      durationSeconds,
      3600,
    )
    .option('--jitter <time>', 'begin up to this much later, at random', durationSeconds, 0)
    .option('--pause-on-failure', 'pause the schedule when a run fails')
    .option('--time-zone <name>', 'of the cron expression, e.g. Europe/Berlin', 'UTC');
}

export function policyFromFlags(flags: Readonly<Record<string, unknown>>): SchedulePolicy {
  return {
    overlap: flags.overlap as Overlap,
    catchUpSeconds: flags.catchUp as number,
    jitterSeconds: flags.jitter as number,
    pauseOnFailure: flags.pauseOnFailure === true,
    timeZone: flags.timeZone as string,
  };
}

/** As Temporal takes them. */
export function serverPolicy(cron: string, policy: SchedulePolicy): Pick<ScheduleOptions, 'spec' | 'policies'> {
  return {
    spec: { cronExpressions: [cron], jitter: policy.jitterSeconds * 1000, timezone: policy.timeZone },
    policies: {
      overlap: OVERLAPS[policy.overlap],
      catchupWindow: policy.catchUpSeconds * 1000,
      pauseOnFailure: policy.pauseOnFailure,
    },
  };
}

/** Temporal's word in ours. */
export function overlapNamed(policy: ScheduleOverlapPolicy): string {
  return Object.keys(OVERLAPS).find((name) => OVERLAPS[name as Overlap] === policy) ?? String(policy);
}
