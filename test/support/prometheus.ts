import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultHome } from '../../cli/settings';
import { withLock } from '../../engine/store';

const run = promisify(execFile);

/** Prometheus' own programs, of Debian's package: unpacked into the tools of the tests, once; nothing is installed. */
export interface PrometheusPrograms {
  readonly prometheus: string;
  readonly promtool: string;
}

export async function findPrometheus(): Promise<PrometheusPrograms> {
  const named = process.env.QUANTLOOM_PROMETHEUS;
  if (named) return programsIn(named);
  const tools = join(defaultHome(), 'bin');
  const kept = join(tools, 'prometheus');
  await mkdir(tools, { recursive: true });
  await withLock(join(tools, 'prometheus.lock'), async () => {
    if (existsSync(kept)) return;
    const fetched = `${kept}.${process.pid}`;
    try {
      await mkdir(fetched);
      await run('apt-get', ['download', 'prometheus'], { cwd: fetched }).catch(async () => {
        await run('apt-get', ['update']);
        await run('apt-get', ['download', 'prometheus'], { cwd: fetched });
      });
      const [archive] = (await readdir(fetched)).filter((name) => name.endsWith('.deb'));
      await run('dpkg', ['-x', archive as string, '.'], { cwd: fetched });
      await rename(join(fetched, 'usr', 'bin'), kept);
    } catch (error) {
      const { message, stderr = '' } = error as Error & { stderr?: string };
      throw new Error(
        `The tests of metrics need prometheus and promtool, and Debian's package could not be fetched: ${(stderr || message).trim().slice(-500)}. ` +
          'Set QUANTLOOM_PROMETHEUS to a directory that has them.',
      );
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  });
  return programsIn(kept);
}

function programsIn(directory: string): PrometheusPrograms {
  return { prometheus: join(directory, 'prometheus'), promtool: join(directory, 'promtool') };
}
