/**
 * Makes a fresh clone ready to run: dependencies, native kernels, compiled program. Does nothing, quickly, when all is current.
 * Needs nothing but Node.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const SOURCE_FOLDERS = ['activities', 'cli', 'engine', 'workers', 'workflows'];
const BUILD_FILES = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/bundle-workflows.mjs'];
const BUNDLE = 'dist/workflow-bundle.js';
const NATIVE_FILES = ['native/Cargo.toml', 'native/Cargo.lock', 'native/build.rs'];

process.chdir(ROOT);
requireNodeVersion();
installDependencies();
buildNativeKernels();
buildProgram();

function requireNodeVersion() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`Quantloom needs Node 20.19 or newer; this is ${process.version}.`);
}

function installDependencies() {
  const stamp = 'node_modules/.quantloom-stamp';
  const hash = hashOf(['package-lock.json']);
  if (readIfThere(stamp) === hash) return;
  if (!isInstalled()) {
    console.error('quantloom: installing dependencies');
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    const { status, stderr } = run('npm', ['ci', ...quiet], 'pipe');
    // npm refuses to `ci` from a lock file that lacks optional packages of other platforms; `install` takes it as it is.
    if (status !== 0 && /EUSAGE/.test(stderr)) step('installing', 'npm', ['install', '--no-save', ...quiet]);
    else if (status !== 0) fail(`npm ci failed.\n${stderr}`);
  }
  writeFileSync(stamp, hash);
}

/** Whether node_modules holds what the lock file asks for, however it got there. npm keeps its own record of it. */
function isInstalled() {
  const installed = readIfThere('node_modules/.package-lock.json');
  if (installed === null) return false;
  const have = JSON.parse(installed).packages;
  const want = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
  return Object.entries(want).every(([path, { version, optional, peer, link }]) => {
    if (path === '' || link) return true;
    return have[path] === undefined ? Boolean(optional || peer) : have[path].version === version;
  });
}

/** The solver's inner loops in Rust, where cargo is; without them the TypeScript ones run, slower. Never a reason to stop. */
function buildNativeKernels() {
  const library = `native/quantloom.${process.platform}-${process.arch}.node`;
  const stamp = `${library}-stamp`;
  const sources = [...NATIVE_FILES, ...filesIn('native/src')].filter((path) => existsSync(path)).sort();
  const hash = hashOf(sources);
  const before = readIfThere(stamp);
  // A build that failed is not tried again until something changes.
  if ((before === hash && existsSync(library)) || before === `${hash} failed`) return;
  if (spawnSync('cargo', ['--version'], { stdio: 'ignore', shell: process.platform === 'win32' }).status !== 0) {
    if (!existsSync(library)) {
      console.error('quantloom: cargo is not on PATH, so the TypeScript kernels will run; they are slower');
    }
    return;
  }
  console.error('quantloom: building native kernels');
  const cargo = ['build', '--release', '--locked', '--quiet', '--manifest-path', 'native/Cargo.toml'];
  const { status, stderr } = run('cargo', [...cargo, '--target-dir', 'native/target'], 'pipe');
  if (status === 0) {
    const names = { darwin: 'libquantloom_native.dylib', win32: 'quantloom_native.dll' };
    // Renamed into place: a process that runs keeps the old one.
    copyFileSync(join('native/target/release', names[process.platform] ?? 'libquantloom_native.so'), `${library}.tmp`);
    renameSync(`${library}.tmp`, library);
    writeFileSync(stamp, hash);
  } else {
    rmSync(library, { force: true });
    console.error(
      `${stderr}\nquantloom: native kernels could not be built (see above), so the TypeScript ones will run`,
    );
    writeFileSync(stamp, `${hash} failed`);
  }
}

function buildProgram() {
  const sources = [...SOURCE_FOLDERS.flatMap(sourcesIn), ...BUILD_FILES].filter((path) => existsSync(path)).sort();
  const stamp = 'dist/.quantloom-stamp';
  const hash = hashOf(sources);
  if (readIfThere(stamp) === hash && existsSync(BUNDLE)) return;
  rmSync(stamp, { force: true });
  step('building', process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
  removeOrphans(new Set(sources));
  step('bundling workflows', process.execPath, ['scripts/bundle-workflows.mjs']);
  mkdirSync('dist', { recursive: true });
  writeFileSync(stamp, hash);
}

/** What was compiled from a source that is gone would still be found by `require`. */
function removeOrphans(sources) {
  for (const folder of SOURCE_FOLDERS) {
    for (const file of filesIn(join('dist', folder))) {
      const source = relative('dist', file).replace(/(\.d\.ts|\.js\.map|\.js)$/, '');
      if (!sources.has(`${source}.ts`) && !sources.has(`${source}.json`)) rmSync(file);
    }
  }
}

function sourcesIn(folder) {
  return filesIn(folder).filter((path) => /\.(ts|json)$/.test(path) && !/\.test\.ts$|[\\/]fixtures[\\/]/.test(path));
}

function filesIn(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

function hashOf(paths) {
  const hash = createHash('sha256').update(process.version);
  for (const path of paths) hash.update(`\0${path}\0`).update(readFileSync(path));
  return hash.digest('hex');
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

function step(what, command, args) {
  console.error(`quantloom: ${what}`);
  if (run(command, args, 2).status !== 0) fail(`${what} failed; see above.`);
}

function run(command, args, stderr) {
  const shell = process.platform === 'win32';
  const result = spawnSync(command, args, { stdio: ['ignore', 2, stderr], encoding: 'utf8', shell });
  if (result.error) fail(`${command} did not start: ${result.error.message}`);
  return result;
}

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}
