import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Interrupted, runMeasured } from '../measure/run-measured';
import type { ResultsFile } from '../results-file';
import { weightBytesOf } from '../weight-bytes-of';
import { type ComparedRun, type CompareRun, isCompared } from './compared-run';
import { measurePerplexity } from './measure-perplexity';
import type { Width } from './options';
import type { PeersPython } from './peer-tools';
import type { Tool } from './tool';
import type { Workload, WorkloadIdentity } from './workload';

export interface Comparison {
  readonly tools: readonly Tool[];
  readonly workload: Workload;
  readonly python: PeersPython | null;
  readonly results: ResultsFile<WorkloadIdentity, CompareRun>;
  readonly workDirectory: string;
  readonly note: (line: string) => void;
}

/** Runs the tools in turns, round after round. What the results hold already is not run again; a tool that fails is told and left out. */
export async function compareTools(comparison: Comparison): Promise<void> {
  const { tools, workload, results, note } = comparison;
  await measureOriginal(comparison);
  for (let round = 1; round <= workload.options.rounds; round++) {
    for (const width of workload.options.widths) {
      for (const tool of tools) {
        const runs = results.results.runs.filter(isCompared);
        if (runs.some((run) => run.tool === tool.name && run.width === width.name && run.round === round)) continue;
        note(`${tool.title} ${tool.version}, ${width.name} bit, round ${round}`);
        try {
          const run = await runTool(tool, width, round, comparison);
          results.add(run);
          note(
            `  ${run.wallSeconds.toFixed(1)} s, perplexity ${run.perplexity?.quantloom?.toFixed(3) ?? 'not measured'}`,
          );
        } catch (error) {
          if (error instanceof Interrupted) throw error;
          note(`  failed: ${(error as Error).message}`);
        }
      }
    }
  }
}

async function measureOriginal({ workload, python, results, workDirectory, note }: Comparison): Promise<void> {
  if (results.results.runs.some((run) => !isCompared(run))) return;
  note('the original');
  const readers = { quantloom: true, owner: 'transformers' } as const;
  const perplexity = await measurePerplexity(workload.directory, readers, workload, {
    python,
    scratch: workDirectory,
    note,
  });
  results.add({ tool: 'original', weightBytes: weightBytesOf(workload.directory), perplexity });
}

async function runTool(tool: Tool, width: Width, round: number, comparison: Comparison): Promise<ComparedRun> {
  const { workload, python, workDirectory, note } = comparison;
  const place = join(workDirectory, `${tool.name}-${width.name}-${round}`);
  const scratch = join(place, 'scratch');
  mkdirSync(scratch, { recursive: true });
  const [stdout, stderr] = [join(place, 'stdout'), join(place, 'stderr')];
  const task = { workload, width, output: join(place, 'checkpoint'), scratch };
  const loadBefore = loadavg()[0] as number;
  try {
    const usage = await runMeasured({ ...tool.command(task), stdout, stderr });
    const { startedAt, processes: _, ...measured } = usage;
    const outcome = tool.outcome(task, usage, readFileSync(stdout, 'utf8'));
    return {
      tool: tool.name,
      version: tool.version,
      width: width.name,
      round,
      date: new Date(startedAt).toISOString(),
      loadBefore,
      ...measured,
      weightBytes: weightBytesOf(task.output),
      perplexity:
        round === 1 ? await measurePerplexity(task.output, tool.readers, workload, { python, scratch, note }) : null,
      ...outcome,
    };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
