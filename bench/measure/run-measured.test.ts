import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readProcessMemory } from './process-stat';
import { endEverything, runMeasured } from './run-measured';

const onLinux = process.platform === 'linux' ? it : it.failing;

describe('a measured command', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'measured-'));
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const script = (code: string) => ({
    command: process.execPath,
    args: ['-e', code],
    environment: process.env,
    workingDirectory: directory,
    stdout: join(directory, 'stdout'),
    stderr: join(directory, 'stderr'),
  });
  /** Needs 100 MiB and 0.5 s of CPU, then lives on a little. */
  const busy = `
    const block = Buffer.alloc(100 << 20, 1);
    for (const until = process.cpuUsage().user + 5e5; process.cpuUsage().user < until; );
    setTimeout(() => block.length, 500);`;

  onLinux('counts CPU time and memory of its children, which may have process groups of their own', async () => {
    const code = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(busy)}], { detached: true })`;
    const usage = await runMeasured(script(code));
    expect(usage.cpuSeconds).toBeGreaterThanOrEqual(0.5);
    expect(usage.busiestPeakBytes).toBeGreaterThan(100 << 20);
    expect(usage.treePeakBytes).toBeGreaterThan(usage.busiestPeakBytes as number);
    expect(usage.processes).toHaveLength(2);
  });

  onLinux('keeps what it knew of a child that nobody waits for', async () => {
    // A shell that became another program does not know of its children.
    const usage = await runMeasured({
      ...script(''),
      command: 'sh',
      args: ['-c', `"$0" -e '${busy}' & exec sleep 4`, process.execPath],
    });
    expect(usage.cpuSeconds).toBeGreaterThanOrEqual(0.4);
    expect(usage.busiestPeakBytes).toBeGreaterThan(100 << 20);
  });

  it('that fails is an error with the end of what it said', async () => {
    const failing = runMeasured(script('console.error("no such model"); process.exit(3)'));
    await expect(failing).rejects.toThrow(/ended with 3.*no such model/s);
  });

  it('that cannot be started is an error', async () => {
    const nothing = { ...script(''), command: join(directory, 'nothing') };
    await expect(runMeasured(nothing)).rejects.toThrow(/ENOENT/);
  });

  onLinux(
    'ends with all its children when told to',
    async () => {
      const child = `process.on('SIGHUP', () => {}); console.log(process.pid); setInterval(() => {}, 1000)`;
      const code = `
      require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { detached: true, stdio: ['ignore', 1, 2] });
      process.on('exit', () => {}); setInterval(() => {}, 1000)`;
      const run = runMeasured(script(code));
      const failed = expect(run).rejects.toThrow('interrupted');
      const grandchild = await firstLine(join(directory, 'stdout'));
      await new Promise((resolve) => setTimeout(resolve, 300));
      await endEverything();
      await failed;
      // What is left of it until somebody waits for it has none.
      expect(readProcessMemory(Number(grandchild))).toBeNull();
    },
    60_000,
  );
});

async function firstLine(file: string): Promise<string> {
  for (;;) {
    const [line, ...rest] = readFileSync(file, { encoding: 'utf8', flag: 'a+' }).split('\n');
    if (rest.length > 0) return line as string;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
