import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../engine/sources';
import { splitRun } from '../measure/split-run';
import { logsIn, quantloomCommand } from '../quantloom-command';
import { DEFAULT_QUALITY } from './options';
import type { Task, Tool } from './tool';
import { SEED } from './workload';

/** Not held to the settings that it shares with the peers. */
const FREE_QUALITY = 'best';

/** Quantloom at one of its qualities, from a cold start: server, workers, empty store. */
export function quantloomTool(quality: string): Tool {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return {
    name: quality === DEFAULT_QUALITY ? 'quantloom' : `quantloom-${quality}`,
    title: `Quantloom ${quality}`,
    version,
    readers: { quantloom: true, owner: 'gptqmodel' },
    command: (task) =>
      quantloomCommand(wordsOf(task, quality), task.scratch, {
        QUANTLOOM_THREADS: String(task.workload.options.threads),
      }),
    outcome(task, usage) {
      const manifest = JSON.parse(readFileSync(join(task.output, 'quantloom.json'), 'utf8')) as Manifest;
      const { recipe, order, formats } = manifest.spec;
      return { settings: { ...recipe, order, formats }, parts: { ...splitRun(logsIn(task.scratch), usage) } };
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

function wordsOf({ workload: { options }, width, output }: Task, quality: string): string[] {
  const words = ['quantize', options.model, '--json', '--out', output, '--calibration', options.text];
  words.push('--bits', String(width.bits), '--group-size', String(options.groupSize), '--seed', String(SEED));
  words.push('--samples', String(options.samples), '--sequence-length', String(options.length));
  // `best` decides about zero points itself. GPTQModel reads them in layout v2 only, when another tool wrote them.
  if (quality !== FREE_QUALITY || !width.symmetric) words.push(width.symmetric ? '--sym' : '--asym');
  if (quality === FREE_QUALITY || !width.symmetric) words.push('--format', 'gptq_v2');
  return [...words, '--quality', quality];
}
