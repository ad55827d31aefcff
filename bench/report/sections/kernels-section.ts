import { groupedBars } from '../charts/grouped-bars';
import { markdownTable } from '../markdown-table';
import type { KernelResults, Named } from '../result-files';
import type { Section } from './section';

/** Kernels that the peers' libraries have too. */
const COMPARED = ['cholesky', 'inverse factor', 'column loop', 'scale search'];

export function kernelsSection(files: readonly Named<KernelResults>[]): Section {
  const parts = files.map(oneFile);
  return {
    text: parts.map(({ text }) => text).join('\n\n'),
    charts: Object.assign({}, ...parts.map(({ charts }) => charts)),
  };
}

function oneFile({ name, content }: Named<KernelResults>): Section {
  const { results, cpu, threads, node, rounds, clock = 'wall' } = content;
  const variants = [...new Set(results.flatMap(({ seconds }) => Object.keys(seconds)))];
  const rows = results.map(({ kernel, rows: height, columns, seconds }) => [
    kernel,
    height === null ? `${columns}²` : `${height} × ${columns}`,
    ...variants.map((variant) => milliseconds(seconds[variant], seconds.native, variant)),
  ]);
  const charts: Record<string, string> = {};
  const images: string[] = [];
  for (const columns of [...new Set(results.map((result) => result.columns))]) {
    const own = results.filter((result) => result.columns === columns && COMPARED.includes(result.kernel));
    if (own.length < COMPARED.length) continue;
    const chart = `${name}-${columns}`;
    images.push(`![Kernels at ${columns} columns](images/${chart}.svg)`);
    charts[chart] = groupedBars({
      title: `Kernels at ${columns} columns`,
      unit: 'ms',
      groups: own.map(({ kernel }) => kernel),
      series: variants
        .filter((variant) => own.some(({ seconds }) => seconds[variant] !== undefined))
        .map((variant) => ({
          name: variant,
          values: own.map(({ seconds }) => (seconds[variant] === undefined ? null : 1000 * seconds[variant])),
        })),
      logarithmic: true,
    });
  }
  const text = [
    `Median of ${rounds} rounds in turns, ${threads} threads (the solver in TypeScript: 1), milliseconds of ${clock === 'wall' ? 'wall time' : 'CPU time'}; in parentheses how many times as long as native. Machine: ${cpu}, Node ${node}. Results in \`bench/results/${name}.json\`.`,
    markdownTable(['kernel', 'size', ...variants], rows, 2),
    ...images,
  ];
  return { text: text.join('\n\n'), charts };
}

function milliseconds(seconds: number | undefined, native: number | undefined, variant: string): string {
  if (seconds === undefined) return '';
  const text = (1000 * seconds).toFixed(1);
  return variant === 'native' || native === undefined ? text : `${text} (${(seconds / native).toFixed(2)})`;
}
