import { readdir } from 'node:fs/promises';

/** The entries of a directory and of its folders, relative to it, with `/`: a checkpoint has no deeper ones with weights in it. */
export async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const names = await Promise.all(
    entries.map(async (entry) => {
      if (!entry.isDirectory()) return [entry.name];
      const inside = await readdir(`${directory}/${entry.name}`).catch(() => []);
      return inside.map((name) => `${entry.name}/${name}`);
    }),
  );
  return names.flat();
}
