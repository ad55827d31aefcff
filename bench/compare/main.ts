/**
 * Quantloom and its peers on the same model, calibration tokens, widths and groups, in turns: wall and CPU time, peak memory, size,
 * and perplexity on text that calibration did not see. `npm run bench -- --help` lists the flags.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endWithChildren } from '../measure/end-with-children';
import type { RunSplit } from '../measure/split-run';
import { provideTemporal } from '../quantloom-command';
import { ResultsFile } from '../results-file';
import { compareTable } from './compare-table';
import { compareTools } from './compare-tools';
import { type CompareRun, isCompared } from './compared-run';
import { directTool } from './direct-tool';
import { type CompareOptions, HELP, parseCompareOptions } from './options';
import { inspectPeersPython, type PeersPython, peerTool } from './peer-tools';
import { quantloomTool } from './quantloom-tool';
import { splitTable } from './split-table';
import type { Tool } from './tool';
import { prepareWorkload, type WorkloadIdentity } from './workload';

const note = (line: string) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const options = parseCompareOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const workDirectory = mkdtempSync(join(tmpdir(), 'quantloom-bench-'));
  endWithChildren(workDirectory);
  try {
    const workload = await prepareWorkload(options, workDirectory);
    const results = ResultsFile.open<WorkloadIdentity, CompareRun>(options.json, 'compare', workload.identity);
    const executable = process.env.QUANTLOOM_PEERS_PYTHON;
    const python = executable ? await inspectPeersPython(executable) : null;
    const tools = availableTools(options, python);
    if (options.tools.includes('quantloom')) await provideTemporal();
    await compareTools({ tools, workload, python, results, workDirectory, note });
    const { runs } = results.results;
    process.stdout.write(`${compareTable(runs)}\n`);
    if (options.split) printSplits(runs);
  } finally {
    rmSync(workDirectory, { recursive: true, force: true });
  }
}

function availableTools(options: CompareOptions, python: PeersPython | null): Tool[] {
  return options.tools.flatMap((name) => {
    if (name === 'quantloom') return options.qualities.map(quantloomTool);
    if (name === 'direct') return options.qualities.map(directTool);
    const tool = peerTool(name, python);
    if (typeof tool !== 'string') return [tool];
    note(tool);
    return [];
  });
}

function printSplits(runs: readonly CompareRun[]): void {
  for (const run of runs.filter(isCompared).filter(({ tool }) => tool.startsWith('quantloom'))) {
    process.stdout.write(
      `\n${run.tool}, ${run.width} bit, round ${run.round}\n${splitTable(run.parts as unknown as RunSplit)}\n`,
    );
  }
}

main().catch((error: unknown) => {
  note(`error: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
});
