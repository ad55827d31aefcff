import type { Command } from 'commander';
import { solvePartsFor } from '../../engine/planning';
import { type Progress, QuantloomError, UPDATES } from '../../engine/spec';
import type { CommandDefinition, Invocation } from '../command';
import { alreadyPublished, isThere, refuseExistingOutput } from '../existing-output';
import { EXIT, type ExitCode } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { followJob, queryProgress } from '../follow-job';
import { isCancellation, jobFailure } from '../job-failure';
import { jobReport, reviewReport } from '../job-report';
import { pinnedSpec } from '../pinned-spec';
import { refuseByPlan } from '../plan-refusal';
import { progressDisplay } from '../progress-display';
import { openSession, type Session } from '../session';
import { addShareFlags, shareFromFlags } from '../share-of-fleet';
import { addSpecFlags } from '../spec-flags';
import { specFromFlags } from '../spec-from-flags';
import { isJobRunning, type StartedJob, startJob } from '../start-job';
import { externalServer } from '../temporal-client';
import { workflowIdOf } from '../workflow-id';

export const quantize: CommandDefinition = {
  configure(command: Command) {
    addSpecFlags(command);
    addShareFlags(command);
    command
      .option('--cpu-workers <n>', 'CPU worker processes (default 1)', wholeNumber)
      .option('--gpu-workers <n>', 'GPU worker processes (default 1)', wholeNumber)
      .option('--threads <n>', 'threads per worker process', wholeNumber)
      .option('--detach', 'start the job and return; needs a server that keeps running');
  },

  async run(invocation) {
    const { flags, args, settings, environment, workingDirectory } = invocation;
    const asked = specFromFlags({ model: args[0], flags, defaults: settings.specDefaults, workingDirectory });
    let spec = await pinnedSpec(asked, invocation);
    await refuseExistingOutput(spec, settings.sources);
    // A server elsewhere has workers elsewhere, which may see other disks.
    if (!externalServer(environment) && (spec.overwrite || !(await isThere(spec, settings.sources)))) {
      const plan = await refuseByPlan(spec, settings, invocation.signal);
      // Changes no byte and no job's id: only by how many activities a solve is shared.
      if (asked.solveParts === 1 && flags.solveParts === undefined) {
        spec = { ...spec, solveParts: solvePartsFor(plan, settings.cpuWorkers) };
      }
    }
    const session = await openSession(invocation, {
      purpose: 'quantize',
      workers: { control: 1, cpu: settings.cpuWorkers, gpu: settings.gpuWorkers },
    });
    try {
      if (flags.detach && !session.outlives) {
        throw new QuantloomError(
          'WrongUse',
          '--detach needs a server that keeps running: start `quantloom up`, or set TEMPORAL_ADDRESS.',
        );
      }
      const published =
        spec.overwrite || (await isJobRunning(session, workflowIdOf(spec)))
          ? null
          : await alreadyPublished(spec, settings.sources, invocation.signal);
      if (published) {
        invocation.output.result(
          { id: workflowIdOf(spec), state: 'already-there', outputs: published },
          alreadyThere(published),
        );
        return EXIT.done;
      }
      const job = await startJob(session, spec, shareFromFlags(flags));
      announce(invocation, job);
      if (job.joined) await retryWhatNeedsReview(invocation, session, job);
      if (flags.detach) {
        invocation.output.result({ id: job.id, state: 'running', uiPage: job.uiPage }, `${job.id}`);
        return EXIT.done;
      }
      return await follow(invocation, session, job);
    } finally {
      await session.close();
    }
  },
};

function announce({ output }: Invocation, job: StartedJob): void {
  output.note(`job ${job.id}${job.joined ? ' is running already; following it' : ''}`);
  if (job.uiPage) output.note(`Temporal UI ${job.uiPage}`);
}

/** Whoever runs the command again has done something about the step that failed. */
async function retryWhatNeedsReview({ output }: Invocation, session: Session, { handle }: StartedJob): Promise<void> {
  const progress = await queryProgress(session, handle).catch(() => null);
  if (!progress?.needsReview) return;
  output.note(`trying ${progress.needsReview.step} again, which needed review: ${progress.needsReview.error}`);
  await handle.executeUpdate<Progress, [object]>(UPDATES.retryLayer, { args: [{}] });
}

async function follow(invocation: Invocation, session: Session, job: StartedJob): Promise<ExitCode> {
  const { output, signal } = invocation;
  const outcome = await followJob({ session, handle: job.handle, display: progressDisplay(output), signal });
  const identity = { id: job.id, uiPage: job.uiPage };
  switch (outcome.kind) {
    case 'done':
      output.result({ ...identity, state: 'done', ...outcome.result }, jobReport(job.id, outcome.result, job.uiPage));
      return EXIT.done;
    case 'needs-review':
      output.note(reviewReport(job.id, outcome.progress));
      output.result({ ...identity, state: 'needs-review', needsReview: outcome.progress.needsReview }, '');
      return EXIT.needsReview;
    case 'interrupted': {
      const how = session.outlives
        ? `The job goes on: \`quantloom status ${job.id}\` shows it, the same command follows it again.`
        : 'The job stops here and is kept: the same command goes on with it.';
      output.note(`interrupted. ${how}`);
      output.result({ ...identity, state: 'interrupted', goesOn: session.outlives }, '');
      return EXIT.interrupted;
    }
    case 'failed':
      if (isCancellation(outcome.error)) throw new Error(`job ${job.id} was cancelled`);
      throw jobFailure(outcome.error);
  }
}

function alreadyThere(outputs: Readonly<Record<string, string>>): string {
  return Object.values(outputs)
    .map((directory) => `${directory} is already there, from the same spec, and verified (--overwrite makes it again)`)
    .join('\n');
}
