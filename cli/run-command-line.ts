import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { QuantloomError } from '../engine/spec';
import type { Invocation } from './command';
import { CommandOutput, type CommandOutputOptions } from './command-output';
import { COMMAND_TABLE, type CommandGroup, type CommandRow } from './command-table';
import { DIST_DIRECTORY } from './dist-directory';
import { EXIT, type ExitCode, exitCodeOf } from './exit-codes';
import { resolveSettings } from './settings';

export interface CommandLine {
  /** Without `node` and the script. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly stdout: CommandOutputOptions['stdout'];
  readonly stderr: CommandOutputOptions['stderr'];
  readonly signal: AbortSignal;
}

/** Runs one command line. Never throws. @returns the exit code. */
export async function runCommandLine(line: CommandLine): Promise<ExitCode> {
  const { args, stdout, stderr, environment, signal } = line;
  const output = new CommandOutput({
    stdout,
    stderr,
    json: args.includes('--json'),
    debug: environment.QUANTLOOM_DEBUG === '1',
  });
  let code: ExitCode = EXIT.done;
  const program = new Command('quantloom')
    .description('Quantize large language models as a durable dataflow.')
    .version(version())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      // Printed once, below.
      outputError: () => {},
    })
    .addHelpText(
      'after',
      '\nMODEL is a directory with safetensors, a GGUF file, hf:OWNER/NAME[@REVISION], s3://BUCKET/PREFIX, or `demo`. Exit codes: 0 done, 1 failed, 2 wrong use, 3 needs review, 130 interrupted.',
    );
  const asked = args[0] === 'help' ? args.slice(1) : args;
  const add = (parent: Command, row: CommandRow | CommandGroup, [word, ...words]: readonly (string | undefined)[]) => {
    const command = parent.command(row.usage).summary(row.summary).description(row.summary);
    if ('commands' in row) {
      for (const inner of row.commands) add(command, inner, command.name() === word ? words : []);
      return;
    }
    command.option('--json', 'print one JSON document on stdout; the rest goes to stderr');
    if (command.name() !== word) return;
    const definition = row.load();
    definition.configure?.(command);
    command.action(async () => {
      const flags = command.opts();
      const settings = resolveSettings({ ...line, flags });
      const invocation: Invocation = { ...line, args: command.args, flags, settings, output };
      code = await definition.run(invocation);
    });
  };
  for (const row of COMMAND_TABLE) add(program, row, asked);
  try {
    if (args.length === 0) {
      program.outputHelp();
      return EXIT.done;
    }
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.done;
      if (error.code !== 'commander.help') {
        output.error(new QuantloomError('WrongUse', error.message.replace(/^error: /, '')));
      }
      return EXIT.wrongUse;
    }
    if (signal.aborted) return EXIT.interrupted;
    output.error(error);
    return exitCodeOf(error);
  }
}

function version(): string {
  const file = join(DIST_DIRECTORY, '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
