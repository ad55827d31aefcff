import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { readDockerfile, readDockerignore, type Stage } from './dockerfile';

const ROOT = join(__dirname, '..', '..');

/**
 * Carries out a Dockerfile in plain directories, one per stage, without images: what is copied is copied as a build would, the program is
 * built as it says, and what would take the network is taken from here. Only what a stage copies is there.
 *
 * @returns the directory that is the root of the stage.
 * @throws Error for an instruction that it does not know, and when a command fails.
 */
export function simulateImage(dockerfile: string, target: string, directory: string): string {
  const stages = readDockerfile(dockerfile);
  const needed = new Map<string, string>();
  const visible = readDockerignore(join(ROOT, '.dockerignore'));

  function build(name: string): string {
    const done = needed.get(name);
    if (done !== undefined) return done;
    const stage = stages.find((one) => one.name === name);
    if (!stage) throw new Error(`${dockerfile}: there is no stage ${name}`);
    const root = join(directory, name);
    mkdirSync(root, { recursive: true });
    if (stages.some((one) => one.name === stage.from)) copyTree(`${build(stage.from)}/.`, root);
    needed.set(name, root);
    carryOut(stage, root);
    return root;
  }

  function carryOut(stage: Stage, root: string): void {
    let place = root;
    for (const { name, text } of stage.instructions) {
      if (name === 'WORKDIR') {
        place = join(root, text);
        mkdirSync(place, { recursive: true });
      } else if (name === 'COPY') {
        const words = text.split(' ');
        const from = words[0]?.startsWith('--from=') ? build((words.shift() as string).slice(7)) : null;
        const to = words.pop() as string;
        const destination = to.startsWith('/') ? join(root, to) : join(place, to);
        for (const source of words)
          copy(source, from, to.endsWith('/') || words.length > 1 ? destination : null, destination);
      } else if (name === 'RUN') {
        run(text, place, root);
      } else if (!['ENV', 'USER', 'EXPOSE', 'ENTRYPOINT', 'CMD'].includes(name)) {
        throw new Error(`${dockerfile}: ${name} is not known here`);
      }
    }
  }

  function copy(source: string, from: string | null, into: string | null, destination: string): void {
    const path = from === null ? join(ROOT, source) : join(from, source);
    // A directory's content is copied, a file goes into a directory.
    const target = statSync(path).isDirectory() || into === null ? destination : join(into, basename(source));
    mkdirSync(dirname(target), { recursive: true });
    if (from !== null) {
      copyTree(statSync(path).isDirectory() ? `${path}/.` : path, target);
    } else {
      if (!visible(source)) throw new Error(`${dockerfile} copies ${source}, which .dockerignore leaves out`);
      cpSync(path, target, { recursive: true, filter: (file) => visible(relative(ROOT, file)) });
    }
  }

  return build(target);
}

/** Commands of our Dockerfile: what needs no network is run, the rest has its outcome taken from this machine. */
function run(text: string, place: string, root: string): void {
  if (text.startsWith('cargo build ')) {
    const file = `quantloom.${process.platform}-${process.arch}.node`;
    mkdirSync(join(root, 'out'));
    if (existsSync(join(ROOT, 'native', file))) cpSync(join(ROOT, 'native', file), join(root, 'out', file));
  } else if (text === 'npm install --no-save --ignore-scripts') {
    symlinkSync(join(ROOT, 'node_modules'), join(place, 'node_modules'));
  } else if (text === 'npm install --no-save --ignore-scripts --omit=dev') {
    installForProduction(join(place, 'node_modules'));
  } else if (text.startsWith('npm run build ') || text.startsWith('cd node_modules ')) {
    const { status, stdout, stderr } = spawnSync('sh', ['-c', text], { cwd: place, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${text}: ${stdout}${stderr}`);
  } else if (text.startsWith('apt-get update ')) {
    const [, made] = /install -d -o 1000 -g 1000 ((?:\/\S+ ?)+)/.exec(text) ?? [];
    for (const path of (made ?? '').trim().split(' ')) {
      mkdirSync(join(root, path), { recursive: true });
      chmodSync(join(root, path), 0o777);
    }
    const [, target, link] = /ln -s (\S+) (\S+)/.exec(text) ?? [];
    mkdirSync(dirname(join(root, link as string)), { recursive: true });
    symlinkSync(join(root, target as string), join(root, link as string));
  } else {
    throw new Error(`It is not known here how to run: ${text}`);
  }
}

/** What `npm install --omit=dev` leaves, by the lock file. */
function installForProduction(directory: string): void {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  const wanted = Object.keys(packages)
    .filter((path) => path !== '' && !packages[path].dev && existsSync(join(ROOT, path)))
    .sort();
  const outermost = wanted.filter((path) => !wanted.some((other) => path.startsWith(`${other}/`)));
  for (const path of outermost) {
    const target = join(dirname(directory), path);
    mkdirSync(dirname(target), { recursive: true });
    copyTree(join(ROOT, path), target);
  }
}

/** By links where both are on one file system: nothing of it is written to. */
function copyTree(from: string, to: string): void {
  if (spawnSync('cp', ['-al', from, to], { stdio: 'ignore' }).status === 0) return;
  const { status, stderr } = spawnSync('cp', ['-a', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cp -a ${from} ${to}: ${stderr}`);
}
