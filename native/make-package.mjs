/**
 * Makes the npm package of one platform from a library that cargo built:
 *
 *     node native/make-package.mjs linux-x64 native/target/release/libquantloom_native.so out/
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [platform, library, target] = process.argv.slice(2);
const match = /^(linux|darwin|win32)-(x64|arm64)$/.exec(platform ?? '');
if (!match || !library || !target) {
  console.error('usage: make-package.mjs PLATFORM-ARCH LIBRARY TARGET-DIRECTORY');
  process.exit(2);
}
const [, os, cpu] = match;
const { version, license } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const main = `quantloom.${platform}.node`;
const directory = join(target, `native-${platform}`);
mkdirSync(directory, { recursive: true });
copyFileSync(library, join(directory, main));
const manifest = {
  name: `@quantloom/native-${platform}`,
  version,
  description: `Quantloom's native kernels for ${platform}`,
  license,
  main,
  files: [main],
  os: [os],
  cpu: [cpu],
  ...(os === 'linux' && { libc: ['glibc'] }),
};
writeFileSync(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
