import { markdownTable } from '../markdown-table';
import type { Named, StoreResults } from '../result-files';
import { machineLine } from './machine-line';
import type { Section } from './section';

/** What is measured, and what does the same without a store. */
const PEERS: readonly (readonly [what: string, peer: string])[] = [
  ['put', 'cp, sync'],
  ['write an activation', 'cp'],
  ['export', 'cp, sync'],
  ['read what this process wrote', 'cp'],
  ['read and verify', 'cp'],
  ['put to the bucket', 'rclone up'],
  ['write an activation to the bucket', 'rclone up'],
  ['get from the bucket', 'rclone down'],
  ['export from the bucket', 'rclone down'],
];

/** Throughput of the store beside that of cp and rclone: medians of rounds, and the median of their ratios. */
export function storeSection(files: readonly Named<StoreResults>[]): Section {
  return { text: files.map(oneFile).join('\n\n'), charts: {} };
}

function oneFile({ name, content }: Named<StoreResults>): string {
  const { machine, workload, runs } = content;
  const speeds = (what: string) => runs.map(({ mebibytesPerSecond }) => mebibytesPerSecond[what] as number);
  const rows = PEERS.map(([what, peer]) => {
    const ratios = runs.map(({ mebibytesPerSecond: speed }) => (speed[what] as number) / (speed[peer] as number));
    return [what, peer, median(speeds(what)).toFixed(0), median(speeds(peer)).toFixed(0), median(ratios).toFixed(2)];
  });
  return [
    `${machineLine(machine)} ${workload.files} files of ${workload.bytes / 2 ** 20} MiB, ${runs.length} rounds. Results in \`bench/results/${name}.json\`.`,
    markdownTable(['Quantloom', 'beside', 'MiB/s', 'of the other', 'ratio'], rows, 2),
  ].join('\n\n');
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}
