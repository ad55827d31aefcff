import { ENDING, STARTING } from '../../measure/split-run';
import type { SeriesName } from '../../scaling/options';
import { abscissaOf, type ScaledRun } from '../../scaling/scaled-run';
import { fitLine, linearGrowth } from '../charts/linear-growth';
import { label } from '../charts/render-chart';
import { markdownTable } from '../markdown-table';
import type { Named, ScalingResults } from '../result-files';
import { machineLine } from './machine-line';
import type { Section } from './section';

const ABSCISSAS = { tokens: 'calibration tokens', layers: 'layers' } as const;

/** How the time grows with tokens and layers, and falls with workers. */
export function scalingSection(files: readonly Named<ScalingResults>[]): Section {
  const parts = files.map(oneFile);
  return {
    text: parts.map(({ text }) => text).join('\n\n'),
    charts: Object.assign({}, ...parts.map(({ charts }) => charts)),
  };
}

function oneFile({ name, content }: Named<ScalingResults>): Section {
  const { workload, machine, runs } = content;
  const { model, bits, groupSize, length } = workload;
  const text = [
    `${model}, ${bits} bit, groups of ${groupSize}, ${length} tokens per sample. ${machineLine(machine)} Results in \`bench/results/${name}.json\`.`,
  ];
  const charts: Record<string, string> = {};
  for (const series of ['tokens', 'layers'] as const) {
    const own = ofSeries(runs, series);
    if (new Set(own.map((run) => abscissaOf(run, workload))).size < 2) continue;
    const points = own.map((run) => [abscissaOf(run, workload), run.wallSeconds] as const);
    const { slope, intercept, determination } = fitLine(points);
    const abscissa = ABSCISSAS[series];
    const per = series === 'tokens' ? `${label(slope * 1024)} s per 1,024 tokens` : `${label(slope)} s per layer`;
    charts[`${name}-${series}`] = linearGrowth({ title: `Wall time over ${abscissa}`, abscissa, points });
    text.push(
      `**Over ${abscissa}**: ${label(intercept)} s and ${per}, R² = ${determination.toFixed(4)}.`,
      tableOf(own, series, (run) => String(abscissaOf(run, workload))),
      `![Wall time over ${abscissa}](images/${name}-${series}.svg)`,
    );
  }
  const workers = ofSeries(runs, 'workers');
  if (workers.length > 1) text.push(workersOf(workers));
  return { text: text.join('\n\n'), charts };
}

function ofSeries(runs: readonly ScaledRun[], series: SeriesName): ScaledRun[] {
  return runs
    .filter((run) => run.series === series)
    .sort((a, b) => abscissaOf(a, { length: 1 }) - abscissaOf(b, { length: 1 }));
}

function tableOf(runs: readonly ScaledRun[], series: string, value: (run: ScaledRun) => string): string {
  const rows = runs.map((run) => [
    value(run),
    run.wallSeconds.toFixed(1),
    run.cpuSeconds?.toFixed(1) ?? '',
    run.busiestPeakBytes === null ? '' : (run.busiestPeakBytes / 2 ** 20).toFixed(0),
  ]);
  return markdownTable([series, 'wall s', 'CPU s', 'busiest process MiB'], rows, 0);
}

/** Times of the fastest rounds; a job's own time is that without its server and workers starting and ending. */
function workersOf(runs: readonly ScaledRun[]): string {
  const counts = [...new Set(runs.map(({ workers }) => workers))];
  const jobSeconds = ({ wallSeconds, split }: ScaledRun) =>
    wallSeconds - (split.wallSeconds[STARTING] ?? 0) - (split.wallSeconds[ENDING] ?? 0);
  const fastest = (count: number, of: (run: ScaledRun) => number) =>
    Math.min(...runs.filter(({ workers }) => workers === count).map(of));
  const [one] = counts as [number];
  const rows = counts.map((count) => {
    const [whole, job] = [fastest(count, (run) => run.wallSeconds), fastest(count, jobSeconds)];
    const ratio = (of: (run: ScaledRun) => number, seconds: number) => `${(fastest(one, of) / seconds).toFixed(2)} ×`;
    return [
      String(count),
      whole.toFixed(1),
      ratio((run) => run.wallSeconds, whole),
      job.toFixed(1),
      ratio(jobSeconds, job),
    ];
  });
  return `**Over workers** of one thread each, on as many cores, \`order stage\`:\n\n${markdownTable(
    ['workers', 'whole process s', 'faster', 'the job alone s', 'faster'],
    rows,
    0,
  )}`;
}
