import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { QuantloomError } from '../spec';

/**
 * Makes a complete directory appear at `output` with one rename; what stood there is removed only after that.
 *
 * @throws QuantloomError OutputExists when something stands there and `overwrite` is false, OutputUnwritable.
 */
export async function publishDirectory(staging: string, output: string, overwrite: boolean): Promise<void> {
  await synchronize(staging);
  const replaced = `${staging}.replaced`;
  if (await exists(output)) {
    if (!overwrite) {
      throw new QuantloomError(
        'OutputExists',
        `${output} exists. Name another output, or allow it to be replaced (overwrite).`,
      );
    }
    await rm(replaced, { recursive: true, force: true });
    await move(output, replaced);
  }
  await move(staging, output);
  await synchronize(dirname(output));
  await rm(replaced, { recursive: true, force: true });
}

async function move(from: string, to: string): Promise<void> {
  await rename(from, to).catch((cause: unknown) => {
    throw new QuantloomError('OutputUnwritable', `${from} cannot be moved to ${to}: ${String(cause)}`, { cause });
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Makes the entries of a directory survive a power loss. */
async function synchronize(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  await handle.sync().finally(() => handle.close());
}
