import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { COMMAND_TABLE } from './command-table';

const REFERENCE = readFileSync(join(__dirname, '..', 'docs', 'cli.md'), 'utf8');

/** What follows a heading that names the command, up to the next heading. */
function sectionOf(name: string): string {
  return REFERENCE.split(/^##+ /m).find((section) => section.split('\n')[0]?.includes(`\`quantloom ${name}`)) ?? '';
}

describe('docs/cli.md', () => {
  it.each(COMMAND_TABLE.map((row) => ({ row, name: row.usage.split(' ')[0] as string })))(
    'names every flag of $name',
    ({ row, name }) => {
      const command = new Command(name);
      row.load().configure?.(command);
      // The flags of `plan` are those of `quantize`, and the section says so.
      const section = name === 'plan' ? sectionOf('quantize') : sectionOf(name);
      expect(section).not.toBe('');
      const flags = command.options.map(({ long }) => long as string);
      expect(flags.filter((flag) => !section.includes(`${flag}`))).toEqual([]);
    },
  );

  it('names no command that there is not', () => {
    const names = [...REFERENCE.matchAll(/^### .*$/gm)].flatMap(([heading]) =>
      [...heading.matchAll(/`quantloom (\w+)/g)].map(([, name]) => name),
    );
    expect(names.sort()).toEqual(COMMAND_TABLE.map((row) => row.usage.split(' ')[0]).sort());
  });
});
