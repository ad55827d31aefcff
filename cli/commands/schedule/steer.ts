import type { ScheduleHandle } from '@temporalio/client';
import { type Command, InvalidArgumentError } from 'commander';
import { QuantloomError } from '../../../engine/spec';
import type { CommandDefinition } from '../../command';
import { EXIT } from '../../exit-codes';
import { callSchedule } from '../../schedule-call';
import { openSession } from '../../session';

interface Steering {
  configure?(command: Command): void;
  act(handle: ScheduleHandle, flags: Readonly<Record<string, unknown>>): Promise<string>;
  /** It starts runs, which need workers that stay. */
  readonly startsRuns?: true;
}

export const trigger = steering({
  startsRuns: true,
  async act(handle) {
    const { policies } = await handle.describe();
    await handle.trigger(policies.overlap);
    return 'triggered';
  },
});

export const pause = steering({
  configure: (command) => command.option('--note <text>', 'why, for others to read', 'paused by hand'),
  async act(handle, { note }) {
    await handle.pause(note as string);
    return 'paused';
  },
});

export const resume = steering({
  configure: (command) => command.option('--note <text>', 'why, for others to read', 'resumed by hand'),
  async act(handle, { note }) {
    await handle.unpause(note as string);
    return 'resumed';
  },
});

export const remove = steering({
  async act(handle) {
    await handle.delete();
    return 'deleted; runs that were started go on, results stay';
  },
});

export const backfill = steering({
  startsRuns: true,
  configure: (command) =>
    command
      .requiredOption('--from <time>', 'first moment, as 2026-11-01T00:00:00Z', moment)
      .requiredOption('--to <time>', 'last moment', moment),
  async act(handle, flags) {
    const { from, to } = flags as { from: Date; to: Date };
    if (from > to)
      throw new QuantloomError('WrongUse', `--from ${from.toISOString()} is after --to ${to.toISOString()}.`);
    // One after another, whatever the policy: they would all be due at once.
    await handle.backfill({ start: from, end: to, overlap: 'BUFFER_ALL' });
    return 'backfilled';
  },
});

function steering({ configure, act, startsRuns }: Steering): CommandDefinition {
  return {
    configure,
    async run(invocation) {
      const { args, flags, output } = invocation;
      const name = args[0] as string;
      const session = await openSession(invocation, { purpose: 'schedule', workers: { control: 0, cpu: 0, gpu: 0 } });
      try {
        if (startsRuns && !session.outlives) {
          throw new QuantloomError(
            'WrongUse',
            'What this starts needs workers that keep running: start `quantloom up`, or set TEMPORAL_ADDRESS.',
          );
        }
        const done = await callSchedule(session.client, name, (handle) => act(handle, flags));
        output.result({ name, done }, `${name}  ${done}`);
        return EXIT.done;
      } finally {
        await session.close();
      }
    },
  };
}

function moment(value: string): Date {
  const time = new Date(value);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(value) || Number.isNaN(time.getTime())) {
    throw new InvalidArgumentError('It must be a time with its zone, such as 2026-11-01T00:00:00Z.');
  }
  return time;
}
