// Peak memory of the workers, on a model cut to a few layers and on the same model with more: it must not grow with the layers.
// usage: npm run bench:memory -- MODEL_DIRECTORY [LAYERS ...]     (default: the demo model with 2 and 4 layers; Linux)
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { readTensor, serializeSafetensors } = require('../dist/engine/checkpoints');
const { openModelDirectory, resolveModelDirectory } = require('../dist/engine/sources');
const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const MIB = 2 ** 20;

const [model = 'demo', ...counts] = process.argv.slice(2);
const layers = counts.length > 0 ? counts.map(Number) : [2, 4];
const work = mkdtempSync(join(tmpdir(), 'quantloom-memory-'));
try {
  const rows = [];
  for (const count of layers) rows.push({ layers: count, ...(await measure(count)) });
  console.table(rows);
} finally {
  rmSync(work, { recursive: true, force: true });
}

async function measure(count) {
  const directory = join(work, `model-${count}`);
  await writeCutModel(directory, count);
  const home = join(work, `home-${count}`);
  const words = [
    MAIN,
    'quantize',
    directory,
    '--out',
    join(work, `out-${count}`),
    '--group-size',
    '64',
    '--refinements',
    '0',
  ];
  words.push(
    '--samples',
    '64',
    '--sequence-length',
    '512',
    '--evaluate',
    'demo',
    '--context',
    '256',
    '--max-tokens',
    '8192',
  );
  const child = spawn(process.execPath, words, {
    env: { ...process.env, QUANTLOOM_HOME: home },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const peaks = {};
  const poll = setInterval(() => readPeaks(join(home, 'logs'), peaks), 200);
  const status = await new Promise((resolve) => child.on('exit', resolve));
  clearInterval(poll);
  if (status !== 0) throw new Error(`quantize ended with ${status}`);
  return Object.fromEntries(Object.entries(peaks).map(([queue, bytes]) => [`${queue} MiB`, Math.round(bytes / MIB)]));
}

/** Peak resident memory of every worker that logs, by its queue. */
function readPeaks(logs, peaks) {
  for (const file of namesIn(logs)) {
    const queue = /^worker-(\w+)-/.exec(file)?.[1];
    if (!queue) continue;
    for (const [, pid] of readFileSync(join(logs, file), 'utf8').matchAll(/"pid":(\d+)/g)) {
      const peak = /VmHWM:\s+(\d+) kB/.exec(statusOf(pid))?.[1];
      if (peak) peaks[queue] = Math.max(peaks[queue] ?? 0, Number(peak) * 1024);
    }
  }
}

function namesIn(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function statusOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

/** The same model with fewer layers, in one file. */
async function writeCutModel(directory, count) {
  const source = await openModelDirectory(resolveModelDirectory(model));
  mkdirSync(directory);
  const tensors = new Map();
  for (const [name, tensor] of Object.entries(source.tensors)) {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer === undefined || Number(layer) < count) tensors.set(name, await readTensor(source.directory, tensor));
  }
  writeFileSync(join(directory, 'model.safetensors'), serializeSafetensors(tensors));
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...source.config, num_hidden_layers: count }));
  for (const file of source.companions) copyFileSync(join(source.directory, file), join(directory, file));
}
