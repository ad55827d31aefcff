import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { COMMAND_TABLE } from './command-table';

const REFERENCE = readFileSync(join(__dirname, '..', 'docs', 'cli.md'), 'utf8');

/** Every command by the words that it is called with. */
const COMMANDS = COMMAND_TABLE.flatMap((row) => {
  const [word] = row.usage.split(' ') as [string];
  const rows =
    'commands' in row ? row.commands.map((inner) => ({ row: inner, group: `${word} ` })) : [{ row, group: '' }];
  return rows.map(({ row, group }) => ({ row, name: `${group}${row.usage.split(' ')[0]}` }));
});

/** What follows a heading that names the command, up to the next heading. */
function sectionOf(name: string): string {
  return REFERENCE.split(/^##+ /m).find((section) => section.split('\n')[0]?.includes(`\`quantloom ${name}`)) ?? '';
}

describe('docs/cli.md', () => {
  it.each(COMMANDS)('names every flag of $name', ({ row, name }) => {
    const command = new Command(name);
    row.load().configure?.(command);
    // `plan` and `schedule create` take the flags of `quantize`, and their sections say so.
    const borrowed = name === 'plan' || name === 'schedule create' ? sectionOf('quantize') : '';
    const section = sectionOf(name) && sectionOf(name) + borrowed;
    expect(section).not.toBe('');
    const flags = command.options.map(({ long }) => long as string);
    expect(flags.filter((flag) => !section.includes(`${flag}`))).toEqual([]);
  });

  it('names no command that there is not', () => {
    const names = [...REFERENCE.matchAll(/^### .*$/gm)].flatMap(([heading]) =>
      [...heading.matchAll(/`quantloom (schedule \w+|\w+)/g)].map(([, name]) => name),
    );
    expect(names.sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
  });
});
