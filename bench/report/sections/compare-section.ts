import { type ComparedRow, comparedRows } from '../../compare/compare-table';
import { type CompareRun, isCompared, type OriginalRun } from '../../compare/compared-run';
import { falling, orchestrationSeconds } from '../../compare/split-table';
import type { RunSplit } from '../../measure/split-run';
import { groupedBars } from '../charts/grouped-bars';
import { label } from '../charts/render-chart';
import { markdownTable } from '../markdown-table';
import type { CompareResults, Named } from '../result-files';
import { machineLine } from './machine-line';
import type { Section } from './section';

const TITLES: Readonly<Record<string, string>> = {
  quantloom: 'Quantloom',
  'quantloom-fast': 'Quantloom fast',
  'quantloom-best': 'Quantloom best',
  direct: "Quantloom's engine alone",
  'direct-fast': "Quantloom's engine alone, fast",
  'direct-best': "Quantloom's engine alone, best",
  gptqmodel: 'GPTQModel',
  llmcompressor: 'llm-compressor',
  autoround: 'auto-round',
};

/** Tables and charts of all comparisons. */
export function compareSection(files: readonly Named<CompareResults>[]): Section {
  const parts = files.map(oneComparison);
  return {
    text: parts.map(({ text }) => text).join('\n\n'),
    charts: Object.assign({}, ...parts.map(({ charts }) => charts)),
  };
}

/** The same in a few lines, without Quantloom's engine alone. */
export function briefComparison(files: readonly Named<CompareResults>[]): Section {
  const parts = files.map(({ content: { workload, machine, runs } }) => {
    const { model, calibration, groupSize } = workload;
    const original = runs.find((run) => !isCompared(run)) as OriginalRun | undefined;
    const unquantized = original?.perplexity.quantloom;
    const lines = comparedRows(runs)
      .filter(({ tool }) => !tool.startsWith('direct'))
      .map((row) => [
        `${TITLES[row.tool] ?? row.tool} ${row.version}`,
        row.width.replace('-asym', ', asymmetric'),
        `${row.wallSeconds.toFixed(0)} s`,
        `${mebibytes(row.busiestPeakBytes)} / ${mebibytes(row.treePeakBytes)} MiB`,
        (row.perplexity?.owner ?? row.perplexity?.quantloom)?.toFixed(2) ?? '',
      ]);
    return [
      `${model.name}, groups of ${groupSize}, ${calibration.samples} × ${calibration.length} calibration tokens; whole processes from start to checkpoint, in turns. ${machineLine(machine)}${unquantized ? ` Unquantized perplexity ${unquantized.toFixed(2)}.` : ''}`,
      markdownTable(['', 'bits', 'wall time', 'memory, busiest process / all', 'perplexity on unseen text'], lines, 2),
    ].join('\n\n');
  });
  return { text: parts.join('\n\n'), charts: {} };
}

function oneComparison({ name, content }: Named<CompareResults>): Section {
  const { workload, machine, runs } = content;
  const rows = comparedRows(runs);
  const original = runs.find((run) => !isCompared(run)) as OriginalRun | undefined;
  const { calibration, evaluation, model, groupSize, threads } = workload;
  const dates = runs.filter(isCompared).map(({ date }) => date.slice(0, 10));
  const busiest = Math.max(0, ...runs.filter(isCompared).map(({ loadBefore }) => loadBefore));
  const text = [
    `### ${model.name}, ${model.layers} layers, ${(model.parameters / 1e6).toFixed(1)} million parameters`,
    `Groups of ${groupSize}, ${calibration.samples} × ${calibration.length} calibration tokens, ${threads} threads; perplexity on ${evaluation.tokens} other tokens, context ${evaluation.context}. ${machineLine(machine)} Measured ${[...new Set(dates)].sort().join(', ')}, load average before a run at most ${busiest.toFixed(1)}; results in \`bench/results/${name}.json\`.`,
    tableOf(rows, original),
    ratiosOf(rows),
    `![Wall time](images/${name}-time.svg)`,
    `![Perplexity](images/${name}-perplexity.svg)`,
    settingsOf(runs),
    splitOf(runs),
  ];
  const widths = [...new Set(rows.map(({ width }) => width))];
  const groups = widths.map(widthTitle);
  const seriesOf = (value: (row: ComparedRow) => number | null) =>
    [...new Set(rows.map(({ tool }) => tool))].map((tool) => ({
      name: TITLES[tool] ?? tool,
      values: widths.map((width) => {
        const row = rows.find((one) => one.tool === tool && one.width === width);
        return row ? value(row) : null;
      }),
    }));
  const reference = original?.perplexity.quantloom;
  const charts = {
    [`${name}-time`]: groupedBars({
      title: 'Wall time of the whole process',
      unit: 's',
      groups,
      series: seriesOf(({ wallSeconds }) => wallSeconds),
    }),
    [`${name}-perplexity`]: groupedBars({
      title: 'Perplexity on unseen text',
      unit: '',
      groups,
      series: seriesOf(({ perplexity }) => perplexity?.quantloom ?? perplexity?.owner ?? null),
      logarithmic: true,
      ...(reference && { reference: { name: `unquantized ${label(reference)}`, value: reference } }),
    }),
  };
  return { text: text.filter((part) => part !== '').join('\n\n'), charts };
}

function tableOf(rows: readonly ComparedRow[], original: OriginalRun | undefined): string {
  const head = [
    '',
    'bits',
    'wall s',
    'of Quantloom',
    'CPU s',
    'busiest process MiB',
    'all processes MiB',
    'weights MB',
  ];
  head.push('perplexity', "by the owner's reader");
  const table = rows.map((row) => [
    `${TITLES[row.tool] ?? row.tool} ${row.version}`,
    row.width.replace('-asym', ', asymmetric'),
    row.wallSeconds.toFixed(1),
    row.timesQuantloom === null ? '' : `${row.timesQuantloom.toFixed(2)} ×`,
    row.cpuSeconds?.toFixed(1) ?? '',
    mebibytes(row.busiestPeakBytes),
    mebibytes(row.treePeakBytes),
    (row.weightBytes / 1e6).toFixed(1),
    row.perplexity?.quantloom?.toFixed(3) ?? '',
    row.perplexity?.owner ? `${row.perplexity.owner.toFixed(3)} (${row.perplexity.ownerName})` : '',
  ]);
  if (original) {
    const { perplexity, weightBytes } = original;
    const [ours, theirs] = [perplexity.quantloom?.toFixed(3) ?? '', perplexity.owner?.toFixed(3)];
    const cells = ['unquantized', '16', '', '', '', '', '', (weightBytes / 1e6).toFixed(1), ours];
    table.unshift([...cells, theirs ? `${theirs} (${perplexity.ownerName})` : '']);
  }
  return markdownTable(head, table);
}

/** What of a peer's time and memory Quantloom needed. */
function ratiosOf(rows: readonly ComparedRow[]): string {
  const lines = rows.flatMap((peer) => {
    const own = rows.find(({ tool, width }) => tool === 'quantloom' && width === peer.width);
    if (!own || peer.tool.startsWith('quantloom') || peer.tool.startsWith('direct-')) return [];
    if (peer.tool === 'direct') {
      const times = (field: 'wallSeconds' | 'cpuSeconds') =>
        ((own[field] ?? Number.NaN) / (peer[field] ?? Number.NaN)).toFixed(2);
      return `- ${widthTitle(peer.width)}: ${times('wallSeconds')} of the wall time of its engine alone in one process, ${times('cpuSeconds')} of its CPU time: what Temporal, store, processes of their own and verification cost`;
    }
    const ratio = (field: 'wallSeconds' | 'cpuSeconds' | 'busiestPeakBytes') =>
      ((own[field] ?? Number.NaN) / (peer[field] ?? Number.NaN)).toFixed(2);
    return `- ${widthTitle(peer.width)}: ${ratio('wallSeconds')} of ${TITLES[peer.tool] ?? peer.tool}'s wall time, ${ratio('cpuSeconds')} of its CPU time, ${ratio('busiestPeakBytes')} of the memory of its busiest process`;
  });
  return lines.length === 0 ? '' : `Quantloom needs:\n\n${lines.join('\n')}`;
}

function widthTitle(width: string): string {
  return `${width.replace('-asym', '')} bit${width.endsWith('-asym') ? ', asymmetric' : ''}`;
}

/** The settings that took effect, as each tool reports them; of the first run at the first width. */
function settingsOf(runs: readonly CompareRun[]): string {
  const first = new Map<string, string>();
  for (const run of runs.filter(isCompared)) {
    if (first.has(run.tool)) continue;
    const settings = Object.entries(run.settings).map(
      ([name, value]) => `${name} ${Array.isArray(value) ? value : value}`,
    );
    first.set(run.tool, `- ${TITLES[run.tool] ?? run.tool} at ${run.width} bit: ${settings.join(', ')}`);
  }
  return `Settings:\n\n${[...first.values()].join('\n')}`;
}

/** Where the time of Quantloom's last run at the first width went. */
function splitOf(runs: readonly CompareRun[]): string {
  const own = runs.filter(isCompared).filter(({ tool }) => tool === 'quantloom');
  const run = own.filter(({ width }) => width === own[0]?.width).at(-1);
  if (!run) return '';
  const split = run.parts as unknown as RunSplit;
  const rows = falling(split.wallSeconds)
    .filter(([, seconds]) => seconds >= run.wallSeconds / 200)
    .map(([part, seconds]) => [part, seconds.toFixed(1), `${((100 * seconds) / run.wallSeconds).toFixed(1)} %`]);
  const processes = falling(split.cpuSeconds)
    .filter(([, seconds]) => seconds >= 0.05)
    .map(([role, seconds]) => [role, seconds.toFixed(1), mebibytes(split.peakBytes[role] ?? null)]);
  const share = (100 * orchestrationSeconds(split)) / run.wallSeconds;
  return [
    `Where the wall time of Quantloom's ${run.width}-bit run went (round ${run.round}; parts under 0.5 % left out). What is not computing takes ${share.toFixed(1)} % of it: processes that start and end, Temporal between activities, keys and records, the store.`,
    markdownTable(['part', 's', 'share'], rows),
    'And the CPU time, by process:',
    markdownTable(['process', 'CPU s', 'peak MiB'], processes),
  ].join('\n\n');
}

function mebibytes(bytes: number | null): string {
  return bytes === null ? '' : (bytes / 2 ** 20).toFixed(0);
}
