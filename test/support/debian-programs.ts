import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultHome } from '../../cli/settings';
import { withLock } from '../../engine/store';

const run = promisify(execFile);

/**
 * The directory with the programs of a Debian package, unpacked beside the tools of the tests, once; nothing is installed.
 *
 * @throws Error when the package cannot be fetched.
 */
export async function debianPrograms(name: string): Promise<string> {
  const tools = join(defaultHome(), 'bin');
  const kept = join(tools, name);
  await mkdir(tools, { recursive: true });
  await withLock(join(tools, `${name}.lock`), async () => {
    if (existsSync(kept)) return;
    const fetched = `${kept}.${process.pid}`;
    try {
      await mkdir(fetched);
      await run('apt-get', ['download', name], { cwd: fetched }).catch(async () => {
        await run('apt-get', ['update']);
        await run('apt-get', ['download', name], { cwd: fetched });
      });
      const [archive] = (await readdir(fetched)).filter((file) => file.endsWith('.deb'));
      await run('dpkg', ['-x', archive as string, '.'], { cwd: fetched });
      await rename(join(fetched, 'usr', 'bin'), kept);
    } catch (error) {
      const { message, stderr = '' } = error as Error & { stderr?: string };
      throw new Error(`Debian's package ${name} could not be fetched: ${(stderr || message).trim().slice(-500)}.`);
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  });
  return kept;
}
