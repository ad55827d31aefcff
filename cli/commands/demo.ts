import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import Table from 'cli-table3';
import prettyBytes from 'pretty-bytes';
import { requireVerified, verifyCheckpoint } from '../../engine/checkpoints';
import { resolveModelDirectory } from '../../engine/sources';
import { type JobResult, parseQuantizationSpec, type QuantizationSpec } from '../../engine/spec';
import type { CommandDefinition, Invocation } from '../command';
import { EXIT, type ExitCode } from '../exit-codes';
import { followJob } from '../follow-job';
import { jobFailure } from '../job-failure';
import { labelled, reviewReport } from '../job-report';
import { progressDisplay } from '../progress-display';
import { duration } from '../quantities';
import { openSession, type Session } from '../session';
import { startJob } from '../start-job';
import { continuation } from './generate';

const PROMPT = 'The ship was';
const NEW_TOKENS = 40;

interface DemoJob {
  readonly result: JobResult;
  readonly uiPage: string | null;
}

/** The whole of it on the model that ships with Quantloom: offline, about a minute; the second time it finds all in the store. */
export const demo: CommandDefinition = {
  configure(command) {
    command.option('--out <dir>', 'where the checkpoints go', 'quantloom-demo');
  },

  async run(invocation) {
    const { output, settings, workingDirectory, flags, signal, environment } = invocation;
    const started = Date.now();
    const directory = resolve(workingDirectory, flags.out as string);
    if (environment.TEMPORAL_ADDRESS)
      output.note('the demo brings its own Temporal server; TEMPORAL_ADDRESS is not used');
    output.note('starting the Temporal dev server, a control, a cpu and a gpu worker');
    const session = await openSession(invocation, {
      purpose: 'demo',
      workers: { control: 1, cpu: Math.max(1, settings.cpuWorkers), gpu: Math.max(1, settings.gpuWorkers) },
      embedded: true,
    });
    try {
      const gptq = await runDemoJob(invocation, session, demoSpec(directory, 'gptq'));
      if (typeof gptq === 'number') return gptq;
      const rtn = await runDemoJob(invocation, session, demoSpec(directory, 'rtn'));
      if (typeof rtn === 'number') return rtn;

      const checkpoint = gptq.result.outputs.gptq as string;
      const verified = await verifyCheckpoint(checkpoint, { signal });
      requireVerified(verified);
      const original = await continueText(invocation, resolveModelDirectory('demo'));
      const quantized = await continueText(invocation, checkpoint);
      output.result(
        { gptq, rtn, verified: verified.passed, continuations: { prompt: PROMPT, original, quantized } },
        [
          '',
          comparison(gptq.result, rtn.result),
          `original   ${PROMPT}${oneLine(original)}`,
          `quantized  ${PROMPT}${oneLine(quantized)}`,
          '',
          labelled([
            ['verified', `loaded back with an independent decoder: ${verified.checks.length} kinds of checks passed`],
            ['checkpoint', relative(workingDirectory, checkpoint) || checkpoint],
            [
              'work',
              `${gptq.result.computed} computed, ${gptq.result.cached} cached, ${duration((Date.now() - started) / 1000)} in all`,
            ],
            ['Temporal UI', `${gptq.uiPage} (while \`quantloom up\` runs)`],
          ]),
        ].join('\n'),
      );
      return EXIT.done;
    } finally {
      await session.close();
    }
  },
};

function demoSpec(directory: string, method: 'gptq' | 'rtn'): QuantizationSpec {
  return parseQuantizationSpec({
    model: 'demo',
    output: join(directory, `${method}-4bit`),
    overwrite: true,
    recipe: { method, bits: 4, groupSize: 128 },
    calibration: { samples: 32, sequenceLength: 512, sliceTokens: 4096 },
    evaluation: { text: 'demo', context: 256 },
  });
}

async function runDemoJob(
  invocation: Invocation,
  session: Session,
  spec: QuantizationSpec,
): Promise<DemoJob | ExitCode> {
  const { output, signal } = invocation;
  const job = await startJob(session, spec);
  output.note(`job ${job.id}`);
  const outcome = await followJob({ session, handle: job.handle, display: progressDisplay(output), signal });
  switch (outcome.kind) {
    case 'done':
      return { result: outcome.result, uiPage: job.uiPage };
    case 'needs-review':
      output.note(reviewReport(job.id, outcome.progress));
      return EXIT.needsReview;
    case 'interrupted':
      output.note('interrupted. What was done is kept: run the demo again and it goes on.');
      return EXIT.interrupted;
    case 'failed':
      throw jobFailure(outcome.error);
  }
}

async function continueText({ settings, signal }: Invocation, directory: string): Promise<string> {
  const threads = settings.threads ?? availableParallelism();
  const { text } = await continuation({
    checkpoint: directory,
    prompt: PROMPT,
    maxNewTokens: NEW_TOKENS,
    temperature: 0.7,
    seed: 1,
    threads,
    signal,
  });
  return text;
}

function comparison(gptq: JobResult, rtn: JobResult): string {
  const table = new Table({ head: ['', 'size', 'bits per weight', 'perplexity'], style: { head: [], border: [] } });
  const perplexity = (value: number | null | undefined) => value?.toFixed(3) ?? '';
  table.push(
    ['original', prettyBytes(gptq.sourceBytes), '16', perplexity(gptq.perplexity?.original)],
    [
      'round-to-nearest',
      prettyBytes(rtn.outputBytes),
      rtn.bitsPerWeight.toFixed(3),
      perplexity(rtn.perplexity?.quantized),
    ],
    ['GPTQ', prettyBytes(gptq.outputBytes), gptq.bitsPerWeight.toFixed(3), perplexity(gptq.perplexity?.quantized)],
  );
  return table.toString();
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ');
}
