/**
 * Peak memory of the workers, on a model cut to a few layers and on the same model with more: it must not grow with the layers.
 *
 *     npm run bench:memory -- MODEL_DIRECTORY [LAYERS ...]     (default: the demo model with 2 and 4 layers; Linux)
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCutModel } from './cut-model';
import { endWithChildren } from './measure/end-with-children';
import { runMeasured } from './measure/run-measured';
import { splitRun } from './measure/split-run';
import { logsIn, provideTemporal, quantloomCommand } from './quantloom-command';

const RECIPE = ['--group-size', '64', '--refinements', '0', '--samples', '64', '--sequence-length', '512'];
const EVALUATION = ['--evaluate', 'demo', '--context', '256', '--max-tokens', '8192'];

async function measure(model: string, layers: number, place: string): Promise<Record<string, number>> {
  const directory = join(place, 'model');
  await writeCutModel(model, layers, directory);
  const scratch = join(place, 'scratch');
  mkdirSync(scratch);
  const words = ['quantize', directory, '--out', join(place, 'out'), ...RECIPE, ...EVALUATION];
  const files = { stdout: join(place, 'stdout'), stderr: join(place, 'stderr') };
  const usage = await runMeasured({ ...quantloomCommand(words, scratch), ...files });
  const { peakBytes } = splitRun(logsIn(scratch), usage);
  return Object.fromEntries(
    Object.entries(peakBytes).map(([role, bytes]) => [`${role} MiB`, Math.round(bytes / 2 ** 20)]),
  );
}

async function main(): Promise<void> {
  const [model = 'demo', ...counts] = process.argv.slice(2);
  const work = mkdtempSync(join(tmpdir(), 'quantloom-memory-'));
  endWithChildren(work);
  try {
    await provideTemporal();
    const rows = [];
    for (const layers of counts.length > 0 ? counts.map(Number) : [2, 4]) {
      rows.push({ layers, ...(await measure(model, layers, join(work, String(layers)))) });
    }
    console.table(rows);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
