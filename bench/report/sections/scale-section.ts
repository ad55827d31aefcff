import { PAPER_70B, PAPER_671B, type PaperFleet, timeOnPaper } from '../../scale/on-paper';
import type { ScaleRun } from '../../scale/scale-run';
import { markdownTable } from '../markdown-table';
import type { Named, ScaleResults } from '../result-files';
import { machineLine } from './machine-line';
import type { Section } from './section';

/** Of Temporal's server, as it comes: a run ends at this many events, or bytes; an event's payloads; activities under way in a run. */
const LIMITS = {
  mostEvents: 51_200,
  mostBytes: 50 * 2 ** 20,
  largestEventBytes: 2 * 2 ** 20,
  mostPendingActivities: 2_000,
};

/** What the order of work costs, and how far it stays from Temporal's limits. */
export function scaleSection(files: readonly Named<ScaleResults>[]): Section {
  const texts = files.map(({ name, content: { workload, machine, runs } }) => {
    const { slices, parts, workers } = workload;
    return [
      `${slices} slices, solves shared by ${parts}, ${workers} simulated workers. ${machineLine(machine)} Results in \`bench/results/${name}.json\`.`,
      limitsTable(runs),
      costTable(runs),
    ].join('\n\n');
  });
  return { text: texts.join('\n\n'), charts: {} };
}

function limitsTable(runs: readonly ScaleRun[]): string {
  const share = (run: ScaleRun, field: keyof typeof LIMITS) => `${((100 * run[field]) / LIMITS[field]).toFixed(1)} %`;
  const rows = runs.map((run) => [
    ...[run.model, run.order, String(run.workflows), String(run.runs)],
    ...[String(run.mostEvents), share(run, 'mostEvents')],
    ...[(run.mostBytes / 2 ** 20).toFixed(2), share(run, 'mostBytes')],
    ...[(run.largestEventBytes / 1024).toFixed(1), share(run, 'largestEventBytes')],
    ...[String(run.mostPendingActivities), share(run, 'mostPendingActivities')],
  ]);
  const head = ['model', 'order', 'workflows', 'runs', 'longest history, events', 'of the limit'];
  head.push('largest history, MiB', 'of the limit', 'largest event, KiB', 'of the limit');
  head.push('activities under way', 'of the limit');
  return markdownTable(head, rows, 2);
}

function costTable(runs: readonly ScaleRun[]): string {
  const rows = runs.map((run) => [
    ...[run.model, run.order, String(run.activities), String(run.events), (run.bytes / 2 ** 20).toFixed(0)],
    ...[run.wallSeconds.toFixed(0), ((1000 * run.wallSeconds) / run.activities).toFixed(1)],
    ...[((1000 * run.serverSeconds) / run.activities).toFixed(1)],
    ...[((1000 * run.controlSeconds) / run.activities).toFixed(1)],
    ...[(run.serverPeakBytes / 2 ** 20).toFixed(0), (run.controlPeakBytes / 2 ** 20).toFixed(0)],
  ]);
  const head = ['model', 'order', 'activities', 'events', 'all histories, MiB', 'wall s', 'ms an activity'];
  head.push('server CPU ms', 'control CPU ms', 'server MiB', 'control MiB');
  return markdownTable(head, rows, 2);
}

const TOKENS = 512 * 2048;
const MACHINE: Omit<PaperFleet, 'gpus'> = {
  ...{ gpusPerMachine: 8, gpuFlops: 300e12, solverFlops: 2e12, networkBytes: 12.5e9 },
};

/** Time and network of models that are too large to be run here. */
export function onPaperSection(): Section {
  const rows = [PAPER_70B, PAPER_671B].flatMap((model) =>
    [8, 64, 256].flatMap((gpus) =>
      (['stage', 'independent'] as const).map((order) => {
        const { seconds, bottleneck, networkBytes, gramBytes, hours } = timeOnPaper(
          model,
          TOKENS,
          { ...MACHINE, gpus },
          order,
        );
        return [
          ...[model.name, String(gpus), order],
          ...[seconds.products, seconds.network, seconds.solving].map((part) => (part / 60).toFixed(0)),
          ...[(networkBytes / 1e12).toFixed(0), `${((100 * gramBytes) / networkBytes).toFixed(0)} %`],
          ...[hours.toFixed(1), bottleneck],
        ];
      }),
    ),
  );
  const head = ['model', 'GPUs', 'order', 'products min', 'network min', 'solving min', 'network TB', 'of it XᵀX'];
  return { text: markdownTable([...head, 'hours', 'bottleneck'], rows, 1), charts: {} };
}
