import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';

/** Bound on the bytes that are kept for later. */
const KEPT_BYTES = 2 ** 30;

/**
 * Files that nobody needs, to be written over: memory of the page cache that is in use already costs a fraction of fresh memory, which the
 * system has to find and to clear, and a virtual machine to ask its host for.
 *
 * Many processes may share the directory. Who still reads such a file finds another content there: it has to look at hash or identity.
 */
export class SpareFiles {
  constructor(private readonly directory: string) {}

  /** Keeps a file for later, or removes it when there are enough. No error if there is none. */
  async keep(file: string): Promise<void> {
    const found = await stat(file).catch(() => null);
    const kept = (await this.#list()).reduce((sum, { bytes }) => sum + bytes, 0);
    if (found === null || found.size === 0 || kept + found.size > KEPT_BYTES) return rm(file, { force: true });
    await mkdir(this.directory, { recursive: true });
    const spare = path.join(this.directory, `${found.size}-${randomUUID()}`);
    await rename(file, spare).catch(() => rm(file, { force: true }));
  }

  /** Moves a file of about so many bytes to `target`, its old content in it. @returns false when there is none. */
  async take(target: string, bytes: number): Promise<boolean> {
    const distance = (found: number) => (found >= bytes ? found - bytes : Number.MAX_SAFE_INTEGER - found);
    // A small file in the place of a large one would free the rest of it.
    const spares = (await this.#list()).filter((spare) => spare.bytes <= 2 * bytes);
    spares.sort((a, b) => distance(a.bytes) - distance(b.bytes));
    for (const { name } of spares) {
      const taken = await rename(path.join(this.directory, name), target).then(
        () => true,
        () => false, // somebody else was faster
      );
      if (taken) return true;
    }
    return false;
  }

  /** Frees their room. */
  clear(): Promise<void> {
    return rm(this.directory, { recursive: true, force: true });
  }

  async #list(): Promise<{ name: string; bytes: number }[]> {
    const names = await readdir(this.directory).catch(() => []);
    return names.map((name) => ({ name, bytes: Number.parseInt(name, 10) || 0 }));
  }
}
