import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '..', '..');
/** What Node, glibc and Amazon's SDK read by themselves. */
const OF_LIBRARIES = ['NODE_ENV', 'NODE_OPTIONS', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'];

/** Names of environment variables that the program or Temporal's own configuration reads, taken from the sources. */
export function knownEnvironment(): Set<string> {
  const names = new Set(OF_LIBRARIES);
  for (const folder of ['cli', 'workers', 'engine']) {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue;
      const source = readFileSync(join(entry.parentPath, entry.name), 'utf8');
      for (const [, taken] of source.matchAll(/\{ ([^{}]*) \} = environment;/g))
        for (const [name] of (taken as string).matchAll(/\b[A-Z][A-Z0-9_]+\b/g)) names.add(name);
      for (const [, dotted, quoted] of source.matchAll(
        /\benv(?:ironment)?(?:\.([A-Z][A-Z0-9_]+)|, '([A-Z][A-Z0-9_]+)')/g,
      ))
        names.add((dotted ?? quoted) as string);
    }
  }
  const temporal = join(require.resolve('@temporalio/envconfig/package.json'), '..', 'lib');
  for (const file of readdirSync(temporal).filter((name) => name.endsWith('.js')))
    for (const [name] of readFileSync(join(temporal, file), 'utf8').matchAll(/\bTEMPORAL_[A-Z_]+[A-Z]\b/g))
      names.add(name);
  return names;
}
