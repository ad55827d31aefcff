import { METHOD_ROWS } from '../../methods/method-rows';
import { markdownTable } from '../markdown-table';
import type { MethodResults, Named } from '../result-files';
import type { Section } from './section';

/** A table of methods and widths for each model that was measured. */
export function methodsSection(files: readonly Named<MethodResults>[]): Section {
  return { text: files.map(oneModel).join('\n\n'), charts: {} };
}

function oneModel({ content: { workload, runs } }: Named<MethodResults>): string {
  const runOf = (name: string) => runs.find((run) => run.name === name);
  const original = runOf('original');
  const lines = METHOD_ROWS.flatMap((row) => {
    const run = runOf(row.name);
    if (!run || !original) return [];
    const cells = [`${(run.weightBytes / 1e6).toFixed(0)} MB`, run.bitsPerWeight.toFixed(2)];
    const perplexity = run.perplexity.toFixed(run.perplexity < 1000 ? 2 : 0);
    return [[row.method, row.bits, row.format, ...cells, perplexity, changeOf(run.perplexity / original.perplexity)]];
  });
  const { model, calibration, evaluation, groupSize } = workload;
  const size = original
    ? `${(original.weightBytes / 1e6).toFixed(0)} MB, perplexity ${original.perplexity.toFixed(2)}`
    : '';
  const head = ['method', 'bits', 'format', 'size', 'bits per weight', 'perplexity', 'against unquantized'];
  return [
    `${model.name}, unquantized ${size}. Groups of ${groupSize} where the method has them, ${calibration.samples} × ${calibration.length} calibration tokens; perplexity on ${evaluation.tokens} other tokens, context ${evaluation.context}.`,
    markdownTable(head, lines, 3),
  ].join('\n\n');
}

function changeOf(ratio: number): string {
  if (ratio >= 10) return `${ratio.toFixed(0)} ×`;
  const percent = (100 * (ratio - 1)).toFixed(1);
  return ratio < 1 ? `${percent} %` : `+${percent} %`;
}
