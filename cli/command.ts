import type { Command } from 'commander';
import type { CommandOutput } from './command-output';
import type { ExitCode } from './exit-codes';
import type { Settings } from './settings';

/** What a command is called with. */
export interface Invocation {
  readonly args: readonly string[];
  /** Values of the flags by commander's camel-case names. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly settings: Settings;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly output: CommandOutput;
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal;
}

/** One command: its flags and what it does. */
export interface CommandDefinition {
  configure?(command: Command): void;
  run(invocation: Invocation): Promise<ExitCode>;
}
