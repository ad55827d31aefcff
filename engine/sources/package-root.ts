import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

let root: string | null = null;

/** The directory of Quantloom's package.json: above this file, from the sources as from dist/. */
export function packageRoot(): string {
  root ??= findPackageRoot(__dirname);
  return root;
}

function findPackageRoot(start: string): string {
  for (let directory = start; ; directory = dirname(directory)) {
    const manifest = join(directory, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'quantloom') return directory;
    if (directory === dirname(directory)) throw new Error(`No package.json of quantloom lies above ${start}.`);
  }
}
