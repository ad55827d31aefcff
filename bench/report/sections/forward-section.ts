import { markdownTable } from '../markdown-table';
import type { ForwardResults, Named } from '../result-files';
import type { Section } from './section';

/** FLOPs of a layer's forward pass, and how fast they are done. */
export function forwardSection(files: readonly Named<ForwardResults>[]): Section {
  return { text: files.map(oneFile).join('\n\n'), charts: {} };
}

function oneFile({ name, content }: Named<ForwardResults>): string {
  const { tokens, length, threads, results } = content;
  const stages = results.slice(0, -1);
  const product = results.at(-1) as ForwardResults['results'][number];
  const total = {
    name: 'a layer',
    gigaflops: sum(stages.map(({ gigaflops }) => gigaflops)),
    gigaflopsDone: sum(stages.map(({ gigaflops, gigaflopsDone = gigaflops }) => gigaflopsDone)),
    seconds: sum(stages.map(({ seconds }) => seconds)),
  };
  const peak = product.gigaflops / product.seconds;
  const rows = [...stages, total, product].map(({ name: stage, gigaflops, gigaflopsDone = gigaflops, seconds }) => [
    stage,
    gigaflops.toFixed(1),
    gigaflopsDone.toFixed(1),
    seconds.toFixed(3),
    (gigaflops / seconds).toFixed(0),
    `${((100 * gigaflops) / seconds / peak).toFixed(0)} %`,
  ]);
  return [
    `One layer, ${tokens} tokens in sequences of ${length}, ${threads} threads. Results in \`bench/results/${name}.json\`.`,
    markdownTable(['stage', 'GFLOP needed', 'GFLOP done', 's', 'needed per s', "of the machine's GEMM"], rows),
  ].join('\n\n');
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
