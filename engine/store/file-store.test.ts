import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { describeArtifactStore } from './conformance';
import { openFileStore } from './file-store';

const HOUR_SECONDS = 3600;
const RUN_TYPESCRIPT = path.join(__dirname, '../../test/run-typescript.cjs');

jest.setTimeout(30_000);

describeArtifactStore('a directory', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'quantloom-store-'));
  const place = (part: string, name: string) => path.join(directory, part, name.slice(0, 2), name);
  return {
    store: await openFileStore(directory),
    reopen: () => openFileStore(directory),
    damageArtifact: (sha256, content) => writeFile(place('objects', sha256), content),
    damageRecord: (key, content) => writeFile(place('records', key), content),
    quarantined: () => readdir(path.join(directory, 'quarantine')),
    unfinished: () => readdir(path.join(directory, 'tmp')),
    close: () => rm(directory, { recursive: true }),
  };
});

describe('openFileStore', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-store-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('makes the directory and its parents', async () => {
    const store = await openFileStore(path.join(directory, 'deep/er'));
    expect(store.location).toBe(path.join(directory, 'deep/er'));
    await store.put(Buffer.from('abc'));
    expect(await readdir(path.join(directory, 'deep/er/objects'))).toEqual(['ba']);
  });

  test('a place that cannot be a directory is named, with what to do', async () => {
    await writeFile(path.join(directory, 'file'), '');
    await expect(openFileStore(path.join(directory, 'file'))).rejects.toMatchObject({
      code: 'OutputUnwritable',
      message: expect.stringMatching(/file cannot be used: .*name another one \(QUANTLOOM_STORE\)/),
    });
  });

  test('removes what dead writers left more than an hour ago, and nothing else', async () => {
    await openFileStore(directory);
    const here = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
    const dead = await exitedProcess();
    const left: Record<string, number> = {
      [`${here}-${dead}-old`]: 2 * HOUR_SECONDS,
      [`${here}-${dead}-young`]: HOUR_SECONDS / 2,
      [`${here}-${process.ppid}-alive`]: 2 * HOUR_SECONDS,
      [`${here}-${process.ppid}-number-used-again`]: 25 * HOUR_SECONDS,
      [`${here}-${process.pid}-of-my-number-before-me`]: process.uptime() + 2 * HOUR_SECONDS,
      'ffffffff-1-other-machine': 2 * HOUR_SECONDS,
    };
    for (const [name, ageSeconds] of Object.entries(left)) {
      const file = path.join(directory, 'tmp', name);
      await writeFile(file, 'half');
      await utimes(file, Date.now() / 1000 - ageSeconds, Date.now() / 1000 - ageSeconds);
    }
    await openFileStore(directory);
    expect((await readdir(path.join(directory, 'tmp'))).sort()).toEqual(
      [`${here}-${dead}-young`, `${here}-${process.ppid}-alive`].sort(),
    );
  });

  test('a recall counts as use, a peek does not', async () => {
    const store = await openFileStore(directory);
    const key = createHash('sha256').update('key').digest('hex');
    await store.record(key, 1);
    const file = path.join(directory, 'records', key.slice(0, 2), key);
    const yesterday = new Date(Date.now() - 24 * HOUR_SECONDS * 1000);
    await utimes(file, yesterday, yesterday);
    await store.recall(key, { peek: true });
    expect((await stat(file)).mtime).toEqual(yesterday);
    await store.recall(key);
    expect(Date.now() - (await stat(file)).mtimeMs).toBeLessThan(60_000);
  });

  test('no room: StoreFull with the bytes needed and free, and nothing half-written', async () => {
    const source = `
      const { openFileStore } = require(${JSON.stringify(path.join(__dirname, 'file-store.ts'))});
      (async () => {
        const store = await openFileStore(${JSON.stringify(directory)});
        const small = await store.put(Buffer.from('abc'));
        const failure = await store.put(Buffer.alloc(9 << 20)).catch((error) => error);
        const record = await store.record(small, 'x'.repeat(9 << 20)).catch((error) => error);
        const { code, retryable, message, options } = failure;
        console.log(JSON.stringify({ code, retryable, message, details: options.details, record: record.code }));
      })();`;
    // A limit on the size of files is the shortage that every system can make for one process alone.
    const { stdout } = await run('sh', [
      '-c',
      `ulimit -f 2048 && exec "${process.execPath}" -r "${RUN_TYPESCRIPT}" -e "$0"`,
      source,
    ]);
    const failure = JSON.parse(stdout);
    expect(failure).toMatchObject({ code: 'StoreFull', retryable: true, record: 'StoreFull' });
    expect(failure.details).toMatchObject({ directory, bytesNeeded: 9 << 20, bytesFree: expect.any(Number) });
    expect(failure.message).toContain(
      `No room in ${directory}: ${9 << 20} bytes needed, ${failure.details.bytesFree} bytes free`,
    );
    expect(await readdir(path.join(directory, 'tmp'))).toEqual([]);
    const store = await openFileStore(directory);
    const found = [];
    for await (const { bytes } of store.artifacts()) found.push(bytes);
    expect(found).toEqual([3]);
  });

  test('processes that put the same keys and are killed at any moment leave whole artifacts and one record per key', async () => {
    const source = `
      const { openFileStore } = require(${JSON.stringify(path.join(__dirname, 'file-store.ts'))});
      const { createHash } = require('node:crypto');
      (async () => {
        const store = await openFileStore(${JSON.stringify(directory)});
        console.log('ready');
        for (let round = 0; ; round++) {
          const content = Buffer.alloc(1 << 20, round % 8);
          const sha256 = await store.put(content, { durable: round % 3 === 0 });
          await store.get(sha256);
          const key = createHash('sha256').update('key ' + (round % 8)).digest('hex');
          const outcome = await store.record(key, { kind: 'activation', sha256, writer: process.pid });
          if (outcome === 'stored') console.log('stored ' + key);
          const recalled = await store.recall(key);
          if (recalled.sha256 !== sha256) console.log('foreign record');
        }
      })();`;
    const reports: string[] = [];
    for (let generation = 0; generation < 3; generation++) {
      const children = [0, 1].map(() => {
        const child = spawn(process.execPath, ['-r', RUN_TYPESCRIPT, '-e', source]);
        let report = '';
        child.stdout.on('data', (chunk) => (report += chunk));
        child.stderr.on('data', (chunk) => (report += chunk));
        const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
        const ready = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
        return { child, ended, ready, report: () => report };
      });
      await Promise.all(children.map(({ ready }) => ready));
      for (const [i, { child, ended, report }] of children.entries()) {
        await new Promise((resolve) => setTimeout(resolve, 60 + 37 * generation + 53 * i));
        child.kill('SIGKILL');
        await ended;
        reports.push(...report().trim().split('\n'));
      }
    }
    const stored = reports.filter((line) => line.startsWith('stored'));
    expect(reports.filter((line) => line !== 'ready' && !line.startsWith('stored'))).toEqual([]);
    expect(new Set(stored).size).toBe(stored.length);

    const store = await openFileStore(directory);
    let artifacts = 0;
    for await (const { sha256, bytes } of store.artifacts()) {
      expect(bytes).toBe(1 << 20);
      await store.get(sha256);
      artifacts++;
    }
    expect(artifacts).toBeGreaterThan(0);
    for await (const { key } of store.records()) {
      const { sha256 } = (await store.recall(key)) as { sha256: string };
      expect((await store.get(sha256)).byteLength).toBe(1 << 20);
    }
    expect(await readdir(path.join(directory, 'quarantine'))).toEqual([]);
  });

  test('a store whose directory is not writable is refused at open', async () => {
    await openFileStore(directory);
    await chmod(path.join(directory, 'tmp'), 0o500);
    const opening = asOrdinaryUser(directory);
    await expect(opening).resolves.toMatch(/^OutputUnwritable .*tmp.*Make the directory writable for this user/);
    await chmod(path.join(directory, 'tmp'), 0o700);
  });
});

/** Opens the store in a process that is not root, for whom every directory is writable. */
async function asOrdinaryUser(directory: string): Promise<string> {
  const source = `
    const { openFileStore } = require(${JSON.stringify(path.join(__dirname, 'file-store.ts'))});
    if (process.getuid() === 0) { require('node:fs').chownSync(${JSON.stringify(directory)} + '/tmp', 65534, 65534); process.setuid(65534); }
    openFileStore(${JSON.stringify(directory)}).then(() => console.log('opened'), (error) => console.log(error.code, error.message));`;
  await chmod(directory, 0o777);
  for (const part of ['objects', 'records', 'quarantine']) await chmod(path.join(directory, part), 0o777);
  return (await run(process.execPath, ['-r', RUN_TYPESCRIPT, '-e', source])).stdout;
}

async function run(command: string, args: readonly string[]): Promise<{ stdout: string }> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${stderr}`);
  return { stdout };
}

async function exitedProcess(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.on('close', resolve));
  return child.pid as number;
}
