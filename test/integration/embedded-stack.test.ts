import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandLineOf, isRunning, type ProcessIdentity } from '../../cli/process-identity';
import { descendantsOf, survivorsOf } from './process-tree';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const ENDING_LIMIT_MS = 40_000;

interface Up {
  readonly process: ChildProcess & { readonly pid: number };
  readonly address: string;
  readonly uiAddress: string;
  readonly host: number | null;
}

describe('the embedded stack', () => {
  let home: string;
  const started: ChildProcess[] = [];
  const seen: ProcessIdentity[] = [];

  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'quantloom-stack-'));
  });

  afterAll(async () => {
    for (const child of started) child.kill('SIGKILL');
    for (const left of await survivorsOf(seen, ENDING_LIMIT_MS)) process.kill(left.pid, 'SIGKILL');
    rmSync(home, { recursive: true, force: true });
  }, 60_000);

  function run(...args: string[]): ChildProcess & { readonly pid: number } {
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_')),
    );
    const child = spawn(process.execPath, [MAIN, ...args, '--json'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...environment, QUANTLOOM_HOME: home, QUANTLOOM_STORE: join(home, 'store') },
    });
    started.push(child);
    return child as ChildProcess & { readonly pid: number };
  }

  async function documentOf(child: ChildProcess): Promise<Record<string, unknown>> {
    let text = '';
    for await (const chunk of child.stdout as NodeJS.ReadableStream) {
      text += String(chunk);
      try {
        return JSON.parse(text) as Record<string, unknown>;
      } catch {
        // More is to come.
      }
    }
    throw new Error(`no JSON document on stdout: ${text}`);
  }

  async function listed(): Promise<unknown> {
    const child = run('list');
    const ended = once(child, 'exit');
    const document = await documentOf(child);
    expect(await ended).toEqual([0, null]);
    return document;
  }

  async function up(): Promise<Up> {
    const child = run('up');
    const document = await documentOf(child);
    return { process: child, ...(document as unknown as Omit<Up, 'process'>) };
  }

  function childrenOf(pid: number): ProcessIdentity[] {
    const processes = descendantsOf(pid);
    seen.push(...processes);
    return processes;
  }

  function serverOf(): ProcessIdentity {
    return JSON.parse(readFileSync(join(home, 'server.json'), 'utf8')) as ProcessIdentity;
  }

  it('ends every process when its parent is killed, and starts again on the same addresses', async () => {
    const first = await up();
    const children = childrenOf(first.process.pid);
    // Guard, server, three workers.
    expect(children.length).toBeGreaterThanOrEqual(5);
    expect(children.some(({ pid }) => commandLineOf(pid).includes('start-dev'))).toBe(true);
    first.process.kill('SIGKILL');
    expect(await survivorsOf(children, ENDING_LIMIT_MS)).toEqual([]);

    const second = await up();
    expect(second).toMatchObject({ address: first.address, uiAddress: first.uiAddress, host: null });
    const page = await fetch(second.uiAddress);
    expect(page.status).toBe(200);
    const again = childrenOf(second.process.pid);
    second.process.kill('SIGINT');
    expect(await once(second.process, 'exit')).toEqual([130, null]);
    expect(again.filter(isRunning)).toEqual([]);
  }, 300_000);

  it('is joined by a second command, which takes over when the first is killed', async () => {
    const first = await up();
    const second = await up();
    expect(second).toMatchObject({ address: first.address, host: first.process.pid });
    expect(await listed()).toEqual({ jobs: [] });
    expect(childrenOf(second.process.pid)).toEqual([]);

    const before = childrenOf(first.process.pid);
    first.process.kill('SIGKILL');
    expect(await survivorsOf(before, ENDING_LIMIT_MS)).toEqual([]);
    // Now the second one has a server of its own.
    for (const deadline = Date.now() + 30_000; Date.now() < deadline && childrenOf(second.process.pid).length < 5; ) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(await listed()).toEqual({ jobs: [] });
    const after = childrenOf(second.process.pid);
    second.process.kill('SIGTERM');
    await once(second.process, 'exit');
    expect(after.filter(isRunning)).toEqual([]);
  }, 300_000);

  it('starts a killed worker and a killed server again, and ends a server whose guard was killed', async () => {
    const stack = await up();
    const worker = childrenOf(stack.process.pid).find(({ pid }) => commandLineOf(pid).includes('--queue cpu'));
    process.kill((worker as ProcessIdentity).pid, 'SIGKILL');
    const server = serverOf();
    process.kill(server.pid, 'SIGKILL');
    const isBack = () => {
      const lines = childrenOf(stack.process.pid).map(({ pid }) => commandLineOf(pid));
      return (
        lines.some((line) => line.includes('--queue cpu')) && lines.some((line) => line.includes('start-dev --db'))
      );
    };
    for (const deadline = Date.now() + 30_000; Date.now() < deadline && !isBack(); ) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(isBack()).toBe(true);
    expect(await listed()).toEqual({ jobs: [] });

    const orphan = serverOf();
    const guard = childrenOf(stack.process.pid).find(({ pid }) => commandLineOf(pid).includes('server-guard'));
    stack.process.kill('SIGKILL');
    process.kill((guard as ProcessIdentity).pid, 'SIGKILL');
    expect(isRunning(orphan)).toBe(true);
    expect(await listed()).toEqual({ jobs: [] });
    expect(isRunning(orphan)).toBe(false);
    expect(await survivorsOf(seen, ENDING_LIMIT_MS)).toEqual([]);
  }, 300_000);
});
