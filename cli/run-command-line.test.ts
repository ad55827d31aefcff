import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { runCommandLine } from './run-command-line';

async function run(...args: string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'quantloom-cli-'));
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const code = await runCommandLine({
    args,
    environment: { QUANTLOOM_HOME: directory },
    workingDirectory: directory,
    stdout,
    stderr,
    signal: new AbortController().signal,
  });
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') };
}

describe('command line', () => {
  it.each([
    [['frobnicate'], /unknown command/],
    [['status'], /missing required argument/],
    [['list', '--nonsense'], /unknown option/],
    [['quantize', 'demo', '--bits', 'four'], /must be a number/],
    [['quantize', 'demo', '--bits', '7'], /recipe\.bits/],
    [['quantize'], /No model given/],
    [['worker'], /--queue/],
    [['worker', '--queue', 'quantum'], /Allowed choices/],
    [['skip', 'some-job'], /--layer/],
  ])('answers wrong use with exit code 2 and one line: %j', async (args, message) => {
    const { code, stdout, stderr } = await run(...args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
  });

  it('prints exactly one JSON document with --json, also for an error', async () => {
    const { code, stdout } = await run('quantize', 'demo', '--bits', '7', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { code: 'InvalidSpecification', message: expect.stringContaining('recipe.bits') },
    });
  });

  it('refuses an output that exists before anything is started', async () => {
    const { code, stderr } = await run('quantize', 'demo', '--out', '.');
    expect(code).toBe(2);
    expect(stderr).toMatch(/--overwrite/);
  });

  it('says that a worker needs a server', async () => {
    const { code, stderr } = await run('worker', '--queue', 'cpu');
    expect(code).toBe(1);
    expect(stderr).toMatch(/quantloom up/);
  });

  it('prints help and version with exit code 0', async () => {
    expect(await run()).toMatchObject({ code: 0, stdout: expect.stringContaining('quantize') });
    expect(await run('quantize', '--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('--group-size') });
    expect(await run('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });
});
