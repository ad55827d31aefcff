/** How the time of a whole run grows with calibration tokens and layers, and falls with workers. `-- --help` lists the flags. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { CONFIG_FILE } from '../../cli/settings';
import { openModelDirectory, resolveModelDirectory } from '../../engine/sources';
import { writeCutModel } from '../cut-model';
import { endWithChildren } from '../measure/end-with-children';
import { runMeasured } from '../measure/run-measured';
import { splitRun } from '../measure/split-run';
import { logsIn, provideTemporal, quantloomCommand } from '../quantloom-command';
import { ResultsFile } from '../results-file';
import { HELP, parseScalingOptions, type ScalingOptions, type SeriesName } from './options';
import { abscissaOf, type ScaledRun, type ScalingIdentity, type ScalingPoint } from './scaled-run';

const note = (line: string) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const options = parseScalingOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const work = mkdtempSync(join(tmpdir(), 'quantloom-scaling-'));
  endWithChildren(work);
  try {
    const { model, length, bits, groupSize, sliceTokens, quality } = options;
    const name = options.name ?? (model === 'demo' ? model : basename(model));
    const identity = { model: name, length, bits, groupSize, sliceTokens, quality };
    const file = ResultsFile.open<ScalingIdentity, ScaledRun>(options.json, 'scaling', identity);
    await provideTemporal();
    const points = pointsOf(options, await layersOf(model));
    for (let round = 1; round <= options.rounds; round++) {
      for (const point of points) {
        if (file.results.runs.some((run) => isOf(run, point) && run.round === round)) continue;
        note(`${point.series} ${abscissaOf(point, identity)}, round ${round}`);
        const run = await measure(point, round, options, join(work, `${point.series}-${abscissaOf(point, identity)}`));
        file.add(run);
        note(`  ${run.wallSeconds.toFixed(1)} s`);
      }
    }
    console.table(
      file.results.runs.map((run) => ({
        series: run.series,
        value: abscissaOf(run, identity),
        'wall s': Number(run.wallSeconds.toFixed(1)),
        'CPU s': run.cpuSeconds && Number(run.cpuSeconds.toFixed(1)),
        'peak MiB': run.busiestPeakBytes && Math.round(run.busiestPeakBytes / 2 ** 20),
      })),
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function layersOf(model: string): Promise<number> {
  return Number((await openModelDirectory(resolveModelDirectory(model))).config.num_hidden_layers);
}

function pointsOf(options: ScalingOptions, all: number): ScalingPoint[] {
  const { series, samples, workers, fixedSamples, fixedLayers } = options;
  const layers = options.layers ?? [...new Set([1, 2, 3, 4].map((quarters) => Math.ceil((all * quarters) / 4)))];
  const usual = { layers: fixedLayers ?? all, samples: fixedSamples, workers: 1, threads: null };
  const points: Record<SeriesName, ScalingPoint[]> = {
    tokens: samples.map((count) => ({ ...usual, series: 'tokens', samples: count })),
    layers: layers.map((count) => ({ ...usual, series: 'layers', layers: count })),
    workers: workers.map((count) => ({ ...usual, series: 'workers', workers: count, threads: 1 })),
  };
  return series.flatMap((name) => points[name]);
}

function isOf(run: ScaledRun, point: ScalingPoint): boolean {
  return (Object.keys(point) as (keyof ScalingPoint)[]).every((field) => run[field] === point[field]);
}

async function measure(point: ScalingPoint, round: number, options: ScalingOptions, place: string): Promise<ScaledRun> {
  const { layers, samples, workers, threads } = point;
  const scratch = join(place, 'scratch');
  const model = join(place, 'model');
  mkdirSync(scratch, { recursive: true });
  try {
    await writeCutModel(options.model, layers, model);
    const config = { cpuWorkers: workers, gpuWorkers: workers, ...(threads !== null && { threads }) };
    writeFileSync(join(scratch, CONFIG_FILE), JSON.stringify(config));
    const words = ['quantize', model, '--out', join(place, 'out'), '--calibration', options.text, '--order', 'stage'];
    words.push('--bits', String(options.bits), '--group-size', String(options.groupSize));
    words.push('--samples', String(samples), '--sequence-length', String(options.length));
    words.push('--slice-tokens', String(options.sliceTokens));
    if (options.quality !== null) words.push('--quality', options.quality);
    const files = { stdout: join(place, 'stdout'), stderr: join(place, 'stderr') };
    const loadBefore = loadavg()[0] as number;
    const command = quantloomCommand(words, scratch);
    const usage = await runMeasured({
      ...(threads === null ? command : onCores(workers * threads, command)),
      ...files,
    });
    const { startedAt, processes: _, ...measured } = usage;
    const date = new Date(startedAt).toISOString();
    return { ...point, round, date, loadBefore, ...measured, split: splitRun(logsIn(scratch), usage) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Kept to the first cores: a worker of one thread has helpers, and would have a second core to itself where there is one. */
function onCores<T extends { readonly command: string; readonly args: readonly string[] }>(
  count: number,
  command: T,
): T {
  return { ...command, command: 'taskset', args: ['-c', `0-${count - 1}`, command.command, ...command.args] };
}

main().catch((error: unknown) => {
  note(`error: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
});
