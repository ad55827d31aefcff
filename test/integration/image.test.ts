import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { COMMAND_TABLE } from '../../cli/command-table';
import { type Instruction, readDockerfile } from '../support/dockerfile';
import { type JobStack, startJobStack } from '../support/job-stack';
import { knownEnvironment } from '../support/known-environment';
import { findNodeOfImage, NODE_OF_IMAGE } from '../support/node-of-image';
import { simulateImage } from '../support/simulated-image';

const ROOT = join(__dirname, '..', '..');
const DOCKERFILE = join(ROOT, 'deploy', 'Dockerfile');
const IMAGES = ['runtime', 'cuda'];

let directory: string;
let root: string;
let program: string;
let node: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'quantloom-image-'));
  chmodSync(directory, 0o755);
  // Where anybody may run it.
  node = join(directory, 'node');
  copyFileSync(await findNodeOfImage(), node);
  chmodSync(node, 0o755);
  root = simulateImage(DOCKERFILE, 'runtime', join(directory, 'stages'));
  program = join(root, 'opt', 'quantloom');
}, 300_000);

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Runs the program of the image; as user 1000 where this process may choose, to whom all of the image is read-only. */
function start(args: readonly string[], environment: Record<string, string> = {}): ChildProcess {
  const written = join(directory, 'written');
  for (const path of [written, join(written, 'home'), join(written, 'cache'), join(written, 'shared')]) {
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o777);
  }
  return spawn(node, [join(program, 'dist', 'cli', 'main.js'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: join(written, 'shared'),
    env: {
      ...{ PATH: process.env.PATH, NODE_ENV: 'production', QUANTLOOM_HOME: join(written, 'home') },
      ...{ QUANTLOOM_CACHE: join(written, 'cache'), QUANTLOOM_STORE: join(written, 'shared', 'store') },
      ...environment,
    },
    ...(process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : {}),
  });
}

async function run(args: readonly string[], environment?: Record<string, string>) {
  const child = start(args, environment);
  const ended = once(child, 'close');
  const [stdout = '', stderr = ''] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => text(stream as Readable)),
  );
  const [code] = await ended;
  return { code: code as number | null, stdout, stderr };
}

test('the program in the image knows its version and all of its commands', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  const names = COMMAND_TABLE.map(({ usage }) => usage.split(' ')[0] as string);
  expect((await run(['--help'])).stdout.match(/^ {2}(\w+)(?= )/gm)?.map((name) => name.trim())).toEqual(
    expect.arrayContaining(names),
  );
}, 120_000);

test('every package that the compiled program asks for is in the image', () => {
  const missing = new Set<string>();
  for (const entry of readdirSync(join(program, 'dist'), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.js') || entry.name === 'workflow-bundle.js') continue;
    const source = readFileSync(join(entry.parentPath, entry.name), 'utf8');
    for (const [, asked] of source.matchAll(/\b(?:require|import)\(["']([^"']+)["']\)/g)) {
      const name = asked as string;
      if (isBuiltin(name)) continue;
      const place = name.startsWith('.') ? entry.parentPath : join(program, 'node_modules');
      const path = name.startsWith('.') ? name : name.split('/', name.startsWith('@') ? 2 : 1).join('/');
      if (!['', '.js', '.json'].some((ending) => existsSync(join(place, `${path}${ending}`)))) missing.add(name);
    }
  }
  expect([...missing]).toEqual([]);
});

test('what only tests and builds need is not in the image', () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  // The bundler of Temporal's SDK compiles with the one, and another package asks for the other.
  const needed = ['@swc/core', '@types/node'];
  const there = Object.keys(devDependencies).filter((name) => existsSync(join(program, 'node_modules', name)));
  expect(there).toEqual(needed);
  expect(readdirSync(program).sort()).toEqual(['LICENSE', 'assets', 'dist', 'native', 'node_modules', 'package.json']);
  const tests = readdirSync(join(program, 'dist'), { recursive: true }) as string[];
  expect(tests.filter((name) => name.includes('.test.'))).toEqual([]);
});

describe('with a server', () => {
  let stack: JobStack;
  const workers: ChildProcess[] = [];

  beforeAll(async () => {
    stack = await startJobStack({ workers: [] });
  }, 60_000);

  afterAll(async () => {
    for (const worker of workers.filter(({ exitCode }) => exitCode === null)) worker.kill('SIGKILL');
    await stack?.stop();
  });

  test('workers start, carry out a job, and end when they are told to', async () => {
    const server = { TEMPORAL_ADDRESS: stack.address, TEMPORAL_NAMESPACE: 'default', QUANTLOOM_THREADS: '2' };
    for (const queue of ['control', 'cpu', 'gpu']) {
      const worker = start(['worker', '--queue', queue], { ...server, QUANTLOOM_METRICS_ADDRESS: '127.0.0.1:0' });
      workers.push(worker);
      let log = '';
      createInterface({ input: worker.stderr as Readable }).on('line', (line) => {
        log += `${line}\n`;
      });
      const ready = once(createInterface({ input: worker.stdout as Readable }), 'line').then(([line]) => line);
      const said = await Promise.race([ready, once(worker, 'exit').then(() => `ended: ${log}`)]);
      const page = /metrics at (http:\S+)\/metrics$/.exec(said as string)?.[1];
      expect([queue, said, page]).toEqual([
        queue,
        expect.stringMatching(/^worker( on cpu)? polls/),
        expect.any(String),
      ]);
      for (const path of ['/healthz', '/readyz']) expect((await fetch(`${page}${path}`)).status).toBe(200);
      if (
        queue !== 'control' &&
        existsSync(join(program, 'native', `quantloom.${process.platform}-${process.arch}.node`))
      )
        expect(log).toContain('"name":"native ');
    }
    const words = ['--samples', '2', '--sequence-length', '32', '--group-size', '32', '--out', './quantized'];
    const { code, stderr } = await run(['quantize', 'demo', ...words], server);
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    // Published, so it was verified there.
    expect(existsSync(join(directory, 'written', 'shared', 'quantized', 'quantloom.json'))).toBe(true);
    for (const worker of workers) {
      worker.kill('SIGTERM');
      await once(worker, 'exit');
      // Interrupted, in good order.
      expect(worker.exitCode).toBe(130);
    }
  }, 300_000);
});

describe('the Dockerfile', () => {
  const stages = readDockerfile(DOCKERFILE);
  const instructionsOf = (stage: string) => stages.find(({ name }) => name === stage)?.instructions as Instruction[];

  test('has the Node that it is tried with here', () => {
    const [major] = NODE_OF_IMAGE.split('.');
    expect(stages.find(({ name }) => name === 'node')?.from).toMatch(new RegExp(`^node:${major}-`));
  });

  test('fixes the versions of all images that it begins with', () => {
    const from = stages.map(({ from }) => from).filter((image) => !stages.some(({ name }) => name === image));
    expect(from.filter((image) => image !== 'scratch' && !/^[\w./-]+:\d[\w.-]+$/.test(image))).toEqual([]);
  });

  test.each(IMAGES)('%s: no root, only variables that are read, paths that exist', (name) => {
    const instructions = instructionsOf(name);
    const texts = (instruction: string) =>
      instructions.filter((one) => one.name === instruction).map(({ text }) => text);
    expect(texts('USER')).toEqual(['1000:1000']);
    expect(texts('ENTRYPOINT')).toEqual(['["quantloom"]']);
    const set = texts('ENV').flatMap((line) => line.split(' ').map((pair) => pair.split('=') as [string, string]));
    const known = knownEnvironment();
    expect(set.filter(([variable]) => !known.has(variable))).toEqual([]);
    const made = texts('RUN').flatMap((line) =>
      /install -d -o 1000 -g 1000 ((?:\/\S+ ?)+)/.exec(line)?.[1]?.trim().split(' '),
    );
    for (const path of [...set.map(([, value]) => value).filter((value) => value.startsWith('/')), ...texts('WORKDIR')])
      expect(made).toContain(path);
  });

  test('npm can install by the lock file as the stages do', () => {
    for (const stage of ['build', 'dependencies']) {
      const install = instructionsOf(stage).find(({ text }) => text.startsWith('npm ')) as Instruction;
      const place = mkdtempSync(join(directory, 'npm-'));
      for (const file of ['package.json', 'package-lock.json', '.npmrc'])
        spawnSync('cp', [join(ROOT, file), join(place, file)]);
      const words = `${install.text} --dry-run --prefer-offline`.split(' ');
      const { status, stderr } = spawnSync(words[0] as string, words.slice(1), { cwd: place, encoding: 'utf8' });
      expect([stage, status, status === 0 ? '' : stderr]).toEqual([stage, 0, '']);
    }
  }, 120_000);
});

test('the images of the manifests are images that the Dockerfile makes', () => {
  const documentation = readFileSync(DOCKERFILE, 'utf8').split('\n').slice(0, 2).join(' ');
  for (const image of ['quantloom:0.1.0', 'quantloom-cuda:0.1.0']) expect(documentation).toContain(`-t ${image}`);
});
