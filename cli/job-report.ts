import prettyBytes from 'pretty-bytes';
import type { JobResult, Progress } from '../engine/spec';
import { duration, significant } from './quantities';

/** What `quantize` prints at the end. */
export function jobReport(id: string, result: JobResult, uiPage: string | null): string {
  const { outputs, perplexity } = result;
  const lines = outputs.imatrix
    ? [
        ['importance matrix', outputs.imatrix],
        ['size', prettyBytes(result.outputBytes)],
      ]
    : [
        ...Object.entries(outputs).map(([format, directory]) => ['checkpoint', `${directory} (${format})`]),
        ['size', `${prettyBytes(result.outputBytes)}, was ${prettyBytes(result.sourceBytes)}`],
        ['bits per weight', result.bitsPerWeight.toFixed(3)],
      ];
  if (result.widths) lines.push(...histogram(result.widths));
  if (result.meanRelativeError !== null) lines.push(['mean output error', outputError(result)]);
  if (perplexity) {
    const original = perplexity.original === null ? '' : `, original ${perplexity.original.toFixed(3)}`;
    lines.push(['perplexity', `${perplexity.quantized.toFixed(3)}${original}`]);
  }
  lines.push(['work', `${result.computed} computed, ${result.cached} cached, ${duration(result.seconds)}`]);
  if (result.cached > 0) lines.push(['reused', reuse(result)]);
  lines.push(['job', id]);
  if (uiPage) lines.push(['Temporal UI', uiPage]);
  return labelled(lines);
}

/** `0.08 %, before refinement 0.15 %`. */
function outputError({ meanRelativeError, meanRelativeErrorBeforeRefinement: before }: JobResult): string {
  const share = (error: number | null) => `${significant((error as number) * 100)} %`;
  const refined = before !== null && before !== meanRelativeError;
  return `${share(meanRelativeError)}${refined ? `, before refinement ${share(before)}` : ''}`;
}

/** How many linears have each width, as bars, and the mean that was reached. */
function histogram({ averageBits, linearsByBits }: NonNullable<JobResult['widths']>): string[][] {
  const counts = Object.entries(linearsByBits).sort(([a], [b]) => Number(a) - Number(b));
  const most = Math.max(...counts.map(([, count]) => count));
  const bar = (count: number) => '█'.repeat(Math.max(1, Math.round((24 * count) / most)));
  return [
    ['width', `${averageBits.toFixed(3)} bits on average`],
    ...counts.map(([bits, count]) => [`  ${bits} bits`, `${bar(count)} ${count} linears`]),
  ];
}

/** `361 of 540 steps, about 95 s of computing saved`. */
function reuse({ computed, cached, secondsSaved }: JobResult): string {
  const saved = secondsSaved > 0 ? `, about ${duration(secondsSaved)} of computing saved` : '';
  return `${cached} of ${computed + cached} steps${saved}`;
}

/** How the operator decides about a step that failed. */
export function reviewReport(id: string, progress: Progress): string {
  const review = progress.needsReview;
  if (!review) return '';
  const layer = review.layer === null ? '' : ` --layer ${review.layer}`;
  const commands = [['retry', `quantloom retry ${id}${layer}`]];
  if (review.layer !== null) commands.push(['keep in 16 bit', `quantloom skip ${id}${layer}`]);
  commands.push(['give up', `quantloom cancel ${id}`]);
  return `${review.step} needs review: ${review.error}\n${labelled(commands)}`;
}

/** Lines of `label  text`, aligned. */
export function labelled(lines: readonly (readonly string[])[]): string {
  const width = Math.max(...lines.map(([label = '']) => label.length));
  return lines.map(([label = '', text = '']) => `${label.padEnd(width)}  ${text}`).join('\n');
}
