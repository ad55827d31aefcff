import Table from 'cli-table3';
import { type ComparedRun, type CompareRun, isCompared } from './compared-run';

/** One row of the comparison: a tool at one width, over all rounds. */
export interface ComparedRow {
  readonly tool: string;
  readonly version: string;
  readonly width: string;
  readonly rounds: number;
  /** Median over the rounds, as the times below are. */
  readonly wallSeconds: number;
  readonly cpuSeconds: number | null;
  /** Largest over the rounds. */
  readonly busiestPeakBytes: number | null;
  readonly treePeakBytes: number | null;
  readonly weightBytes: number;
  readonly perplexity: ComparedRun['perplexity'];
  /** Wall time over that of Quantloom at the same width; null without Quantloom. */
  readonly timesQuantloom: number | null;
}

/** By falling width, then in the order of the first runs. */
export function comparedRows(runs: readonly CompareRun[]): ComparedRow[] {
  const groups = new Map<string, ComparedRun[]>();
  for (const run of runs.filter(isCompared)) {
    const key = `${run.width} ${run.tool}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const wallOf = (group: readonly ComparedRun[] | undefined) => group && median(group.map((run) => run.wallSeconds));
  const rows = [...groups.values()].map((group) => {
    const first = group[0] as ComparedRun;
    const own = wallOf(groups.get(`${first.width} quantloom`));
    const wallSeconds = wallOf(group) as number;
    return {
      tool: first.tool,
      version: first.version,
      width: first.width,
      rounds: group.length,
      wallSeconds,
      cpuSeconds: overRounds(group, 'cpuSeconds', median),
      busiestPeakBytes: overRounds(group, 'busiestPeakBytes', (list) => Math.max(...list)),
      treePeakBytes: overRounds(group, 'treePeakBytes', (list) => Math.max(...list)),
      weightBytes: first.weightBytes,
      perplexity: group.find(({ perplexity }) => perplexity !== null)?.perplexity ?? null,
      timesQuantloom: own === undefined ? null : wallSeconds / own,
    };
  });
  return rows.sort((a, b) => Number.parseInt(b.width, 10) - Number.parseInt(a.width, 10));
}

/** For the terminal. */
export function compareTable(runs: readonly CompareRun[]): string {
  const head = [
    '',
    'bits',
    'wall s',
    'x',
    'CPU s',
    'peak MiB',
    'all MiB',
    'weights MB',
    'perplexity',
    "owner's reader",
  ];
  const table = new Table({ head, style: { head: [], border: [] } });
  const original = runs.find((run) => !isCompared(run));
  if (original) table.push(['original', '16', '', '', '', '', '', ...sizeAndPerplexity(original)]);
  for (const row of comparedRows(runs)) {
    table.push([
      `${row.tool} ${row.version}`,
      row.width,
      row.wallSeconds.toFixed(1),
      row.timesQuantloom?.toFixed(2) ?? '',
      row.cpuSeconds?.toFixed(1) ?? '',
      mebibytes(row.busiestPeakBytes),
      mebibytes(row.treePeakBytes),
      ...sizeAndPerplexity(row),
    ]);
  }
  return table.toString();
}

function sizeAndPerplexity({ weightBytes, perplexity }: Pick<ComparedRow, 'weightBytes' | 'perplexity'>): string[] {
  return [
    (weightBytes / 1e6).toFixed(1),
    perplexity?.quantloom?.toFixed(3) ?? '',
    perplexity?.owner ? `${perplexity.owner.toFixed(3)} ${perplexity.ownerName}` : '',
  ];
}

function mebibytes(bytes: number | null): string {
  return bytes === null ? '' : (bytes / 2 ** 20).toFixed(0);
}

function overRounds(
  group: readonly ComparedRun[],
  field: 'cpuSeconds' | 'busiestPeakBytes' | 'treePeakBytes',
  combine: (values: number[]) => number,
): number | null {
  const values = group.map((run) => run[field]).filter((value) => value !== null);
  return values.length === group.length ? combine(values) : null;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [below, above] = [sorted[Math.ceil(middle) - 1] as number, sorted[Math.floor(middle)] as number];
  return (below + above) / 2;
}
