import { ScheduleAlreadyRunning } from '@temporalio/client';
import { type Command, InvalidArgumentError } from 'commander';
import { isBucketOutput } from '../../../engine/checkpoints';
import { sourceOf } from '../../../engine/sources';
import { QuantloomError, type RequantizeRequest, TASK_QUEUES, WORKFLOWS } from '../../../engine/spec';
import type { CommandDefinition, Invocation } from '../../command';
import { EXIT } from '../../exit-codes';
import { refuseByPlan } from '../../plan-refusal';
import { addRuleFlags, ruleFromFlags, ruleText } from '../../promotion-rule';
import { callSchedule } from '../../schedule-call';
import { addPolicyFlags, policyFromFlags, serverPolicy } from '../../schedule-policy';
import { openSession } from '../../session';
import { addShareFlags, shareFromFlags } from '../../share-of-fleet';
import { addSpecFlags } from '../../spec-flags';
import { specFromFlags } from '../../spec-from-flags';
import { externalServer } from '../../temporal-client';

/** Runs of a schedule give way to all others, unless they are told otherwise. */
const LOWEST_PRIORITY = 5;

export const create: CommandDefinition = {
  configure(command: Command) {
    command.requiredOption('--cron <expression>', 'when, in five fields: minute hour day month weekday');
    addPolicyFlags(command);
    addRuleFlags(command);
    command.option('--notify <url>', 'webhook that is told of results, failures, and of what needs review', webhookUrl);
    addSpecFlags(command);
    addShareFlags(command);
  },

  async run(invocation) {
    const { args, flags, output } = invocation;
    const name = scheduleName(args[0] as string);
    const request = await requestFromFlags(invocation);
    const policy = policyFromFlags(flags);
    const cron = flags.cron as string;
    const session = await openSession(invocation, { purpose: 'schedule', workers: { control: 1, cpu: 0, gpu: 0 } });
    try {
      const priority = { priorityKey: LOWEST_PRIORITY, ...shareFromFlags(flags) };
      const action = {
        ...({
          type: 'startWorkflow',
          workflowType: WORKFLOWS.requantizeModel,
          workflowId: `requantize-${name}`,
        } as const),
        ...{ taskQueue: TASK_QUEUES.control, args: [request], priority },
      };
      const { model, output: releases } = request.spec;
      await callSchedule(session.client, name, async () => {
        await session.client.schedule
          .create({ scheduleId: name, ...serverPolicy(cron, policy), action, memo: { cron, model, releases } })
          .catch((error) => {
            if (!(error instanceof ScheduleAlreadyRunning)) throw error;
            throw new QuantloomError(
              'WrongUse',
              `There is a schedule "${name}" already: take another name, or \`quantloom schedule delete ${name}\` first.`,
            );
          });
      });
      if (!session.outlives) {
        output.note('runs are started while `quantloom up` runs; what it missed is made up for as --catch-up says');
      }
      const text = `${name}  ${cron} ${policy.timeZone}  ${model} to ${releases}\npromoted when ${ruleText(request.rule)}`;
      output.result({ name, cron, ...policy, request, priority }, text);
      return EXIT.done;
    } finally {
      await session.close();
    }
  },
};

async function requestFromFlags(invocation: Invocation): Promise<RequantizeRequest> {
  const { args, flags, settings, workingDirectory, environment, signal } = invocation;
  const spec = specFromFlags({ model: args[1], flags, defaults: settings.specDefaults, workingDirectory });
  if (spec.overwrite) {
    throw new QuantloomError(
      'WrongUse',
      '--overwrite: a schedule replaces nothing. Every result gets a directory of its own in --out.',
    );
  }
  if (isBucketOutput(spec.output)) {
    throw new QuantloomError(
      'WrongUse',
      `--out ${spec.output}: results of a schedule are directories beside a link, which a bucket has not. Give a directory.`,
    );
  }
  const rule = ruleFromFlags(flags, spec);
  // A server elsewhere has workers elsewhere; what is not on a disk yet is looked at when the first run begins.
  if (!externalServer(environment) && sourceOf(spec.model) === null) await refuseByPlan(spec, settings, signal);
  const webhook = flags.notify as string | undefined;
  return { spec, rule, ...(webhook !== undefined && { webhook }) };
}

/** Workers post to it; what it is allowed is theirs to say. */
function webhookUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : null;
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && value.length <= 2_000) return value;
  throw new InvalidArgumentError('It must be an http or https address without a user name.');
}

/** It is part of workflow ids. @throws QuantloomError WrongUse. */
function scheduleName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)) return name;
  throw new QuantloomError(
    'WrongUse',
    `"${name}" cannot be the name of a schedule: 1 to 100 letters, digits, dots, dashes and underscores, a letter or digit first.`,
  );
}
