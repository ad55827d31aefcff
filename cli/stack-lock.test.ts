import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { identify } from './process-identity';
import { acquireStackLock, readLockHolder } from './stack-lock';

describe('the lock of a stack', () => {
  let path: string;
  beforeEach(() => {
    path = join(mkdtempSync(join(tmpdir(), 'quantloom-lock-')), 'stack.lock');
  });

  it('is held by one, names its holder, and is free after release', () => {
    const lock = acquireStackLock(path, 'up');
    expect(acquireStackLock(path, 'quantize')).toBeNull();
    expect(readLockHolder(path)).toMatchObject({ pid: process.pid, purpose: 'up' });
    lock?.release();
    expect(existsSync(path)).toBe(false);
    acquireStackLock(path, 'quantize')?.release();
    expect(readdirSync(dirname(path))).toEqual([]);
  });

  it('is taken over from a process that was killed', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const holder = { ...identify(child.pid as number), purpose: 'quantize' };
    writeFileSync(path, JSON.stringify(holder));
    expect(acquireStackLock(path, 'up')).toBeNull();
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(readLockHolder(path)).toBeNull();
    const lock = acquireStackLock(path, 'up');
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid: process.pid });
    lock?.release();
  });

  it('is not fooled by another process that got the same pid', () => {
    writeFileSync(path, JSON.stringify({ pid: process.pid, started: 'long ago', purpose: 'up' }));
    expect(acquireStackLock(path, 'up')).not.toBeNull();
  });

  it('is taken over when its file is damaged', () => {
    writeFileSync(path, '{"pid":');
    expect(acquireStackLock(path, 'up')).not.toBeNull();
  });
});
