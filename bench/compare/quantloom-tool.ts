import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { splitRun } from '../measure/split-run';
import { logsIn, quantloomCommand, quantloomVersion } from '../quantloom-command';
import { DEFAULT_QUALITY, type Width } from './options';
import type { Task, Tool } from './tool';
import { SEED } from './workload';

/** Not held to the settings that it shares with the peers. */
const FREE_QUALITY = 'best';

/** Quantloom at one of its qualities, from a cold start: server, workers, empty store. */
export function quantloomTool(quality: string): Tool {
  return {
    name: quality === DEFAULT_QUALITY ? 'quantloom' : `quantloom-${quality}`,
    title: `Quantloom ${quality}`,
    version: quantloomVersion(),
    readers: { quantloom: true, owner: 'gptqmodel' },
    command: (task) =>
      quantloomCommand(wordsOf(task, quality), task.scratch, {
        QUANTLOOM_THREADS: String(task.workload.options.threads),
      }),
    outcome(task, usage) {
      return { settings: settingsOfManifest(task.output), parts: { ...splitRun(logsIn(task.scratch), usage) } };
    },
  };
}

interface Manifest {
  readonly spec: {
    readonly recipe: Readonly<Record<string, unknown>>;
    readonly order: string;
    readonly formats: readonly string[];
  };
}

/** Of a checkpoint that Quantloom wrote: the settings that took effect. */
export function settingsOfManifest(directory: string): Readonly<Record<string, unknown>> {
  const manifest = JSON.parse(readFileSync(join(directory, 'quantloom.json'), 'utf8')) as Manifest;
  const { recipe, order, formats } = manifest.spec;
  return { ...recipe, order, formats };
}

/** Whether zero points are asked for, and the format that they need; null where the quality, or the width, decides. */
export function zeroPointsOf(
  quality: string,
  { symmetric }: Width,
): { readonly symmetric: boolean | null; readonly format: 'gptq_v2' | null } {
  // `best` decides about zero points itself. GPTQModel reads them in layout v2 only, when another tool wrote them.
  const free = quality === FREE_QUALITY;
  return { symmetric: free && symmetric ? null : symmetric, format: free || !symmetric ? 'gptq_v2' : null };
}

function wordsOf({ workload: { options }, width, output }: Task, quality: string): string[] {
  const words = ['quantize', options.model, '--json', '--out', output, '--calibration', options.text];
  words.push('--bits', String(width.bits), '--group-size', String(options.groupSize), '--seed', String(SEED));
  words.push('--samples', String(options.samples), '--sequence-length', String(options.length));
  const { symmetric, format } = zeroPointsOf(quality, width);
  if (symmetric !== null) words.push(symmetric ? '--sym' : '--asym');
  if (format) words.push('--format', format);
  return [...words, '--quality', quality];
}
