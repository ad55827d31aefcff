/** Size and perplexity of every method, on one model: `npm run bench:methods`. `-- --help` lists the flags. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseCompareOptions } from '../compare/options';
import { prepareWorkload, type Workload, type WorkloadIdentity } from '../compare/workload';
import { endWithChildren } from '../measure/end-with-children';
import { runMeasured } from '../measure/run-measured';
import { provideTemporal, quantloomCommand } from '../quantloom-command';
import { ResultsFile } from '../results-file';
import { weightBytesOf } from '../weight-bytes-of';
import { METHOD_ROWS, type MethodRow } from './method-rows';
import type { MethodRun } from './method-run';

const HELP = `usage: npm run bench:methods -- [flags]

  --rows LIST    of ${METHOD_ROWS.map(({ name }) => name).join(', ')} (default: all)

--model, --name, --text, --eval-text, --group-size, --samples, --length, --context, --max-tokens and --json are those of npm run bench.`;

const note = (line: string) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const at = args.indexOf('--rows');
  const shared = parseCompareOptions(at < 0 ? args : args.toSpliced(at, 2));
  if (shared === 'help') {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const rows = rowsOf(
    parseArgs({ args: at < 0 ? [] : args.slice(at, at + 2), options: { rows: { type: 'string' } } }).values.rows,
  );
  const work = mkdtempSync(join(tmpdir(), 'quantloom-methods-'));
  endWithChildren(work);
  try {
    const workload = await prepareWorkload(shared, work);
    const results = ResultsFile.open<WorkloadIdentity, MethodRun>(shared.json, 'methods', workload.identity);
    await provideTemporal();
    const known = (name: string) => results.results.runs.some((run) => run.name === name);
    if (!known('original')) {
      const { directory } = workload;
      results.add({
        name: 'original',
        weightBytes: weightBytesOf(directory),
        bitsPerWeight: 16,
        perplexity: await perplexityOf(directory, workload, work),
      });
    }
    for (const row of rows.filter(({ name }) => !known(name))) {
      note(row.name);
      const run = await measure(row, workload, work);
      results.add(run);
      note(`  perplexity ${run.perplexity.toFixed(3)}`);
    }
    console.table(
      results.results.runs.map(({ name, weightBytes, bitsPerWeight, perplexity }) => ({
        row: name,
        MB: Number((weightBytes / 1e6).toFixed(1)),
        'bits per weight': Number(bitsPerWeight.toFixed(3)),
        perplexity: Number(perplexity.toFixed(3)),
      })),
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function rowsOf(list: string | undefined): readonly MethodRow[] {
  if (list === undefined) return METHOD_ROWS;
  return list.split(',').map((name) => {
    const row = METHOD_ROWS.find((known) => known.name === name);
    if (row) return row;
    throw new Error(`--rows has "${name}"; known are ${METHOD_ROWS.map(({ name }) => name).join(', ')}`);
  });
}

/** All rows share a store: what one has calibrated, the next finds. */
async function measure(row: MethodRow, workload: Workload, work: string): Promise<MethodRun> {
  const { options } = workload;
  const output = join(work, row.name);
  const words = ['quantize', options.model, '--json', '--out', output, '--method', row.method, '--format', row.format];
  words.push('--calibration', options.text);
  if (row.grouped) words.push('--group-size', String(options.groupSize));
  words.push('--samples', String(options.samples), '--sequence-length', String(options.length), ...row.flags);
  try {
    await outputOf(words, work);
    const { bitsPerWeight } = JSON.parse(readFileSync(join(output, 'quantloom.json'), 'utf8')) as MethodRun;
    const perplexity = await perplexityOf(output, workload, work);
    return { name: row.name, weightBytes: weightBytesOf(output), bitsPerWeight, perplexity };
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

async function perplexityOf(directory: string, { options }: Workload, work: string): Promise<number> {
  const words = ['evaluate', directory, '--json', '--text', options.evaluationText];
  words.push('--context', String(options.context), '--max-tokens', String(options.maxTokens));
  return (JSON.parse(await outputOf(words, work)) as { perplexity: number }).perplexity;
}

/** Of the command line program, with an empty home for all runs together. */
async function outputOf(words: readonly string[], work: string): Promise<string> {
  const scratch = join(work, 'scratch');
  mkdirSync(scratch, { recursive: true });
  const files = { stdout: join(work, 'stdout'), stderr: join(work, 'stderr') };
  await runMeasured({ ...quantloomCommand(words, scratch), ...files });
  return readFileSync(files.stdout, 'utf8');
}

main().catch((error: unknown) => {
  note(`error: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
});
