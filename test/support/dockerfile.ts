import { readFileSync } from 'node:fs';

export interface Instruction {
  readonly name: string;
  /** With arguments of the build filled in and lines joined. */
  readonly text: string;
}

export interface Stage {
  readonly name: string;
  /** An image, or the name of an earlier stage. */
  readonly from: string;
  readonly instructions: readonly Instruction[];
}

/** The stages of a Dockerfile: the part of its language that ours are written in. @throws Error for lines that are not. */
export function readDockerfile(path: string): Stage[] {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const stages: { name: string; from: string; instructions: Instruction[] }[] = [];
  const defaults = new Map<string, string>();
  for (const line of lines) {
    const [, name, rest] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) throw new Error(`${path}: what is "${line}"?`);
    if (name === 'ARG' && stages.length === 0) {
      const [variable, value] = rest.split('=');
      defaults.set(variable as string, value as string);
    } else if (name === 'FROM') {
      const [, image, stage] = /^(\S+) AS (\S+)$/.exec(rest) ?? [];
      if (image === undefined || stage === undefined) throw new Error(`${path}: "${line}" names no stage`);
      const from = image.replaceAll(/\$\{(\w+)\}/g, (_, variable) => defaults.get(variable) ?? '');
      stages.push({ name: stage, from, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ name, text: rest });
    }
  }
  return stages;
}

/** What of a directory a build sees, by a .dockerignore that leaves out everything, then names what is in, then leaves out again. */
export function readDockerignore(path: string): (file: string) => boolean {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines[0] !== '*') throw new Error(`${path}: it must begin with *`);
  const rules = lines.slice(1).map((line) => {
    const pattern = line.replace(/^!/, '');
    const expression = pattern
      .replace(/[.]/g, '\\.')
      .replace('**/', '(?:.*/)?')
      .replaceAll(/(?<!\.)\*/g, '[^/]*');
    return { included: line.startsWith('!'), expression: new RegExp(`^${expression}(?:/|$)`) };
  });
  return (file) => rules.findLast(({ expression }) => expression.test(file))?.included ?? false;
}
