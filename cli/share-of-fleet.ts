import type { Priority } from '@temporalio/common';
import { type Command, InvalidArgumentError } from 'commander';

/** Flags that say which jobs workers take first. They change no result and no job's id. */
export function addShareFlags(command: Command): void {
  command
    .option('--priority <1-5>', 'which jobs workers take first, 1 before 5 (default 3)', priorityKey)
    .option('--fairness-key <team>', 'jobs of different keys get equal shares of busy workers', fairnessKey)
    .option('--fairness-weight <n>', 'how large the share is (default 1)', fairnessWeight);
}

/** What Temporal is told, for the job and all that it starts. */
export function shareFromFlags(flags: Readonly<Record<string, unknown>>): Priority {
  const { priority, fairnessKey, fairnessWeight } = flags as {
    priority?: number;
    fairnessKey?: string;
    fairnessWeight?: number;
  };
  return {
    ...(priority !== undefined && { priorityKey: priority }),
    ...(fairnessKey !== undefined && { fairnessKey }),
    ...(fairnessWeight !== undefined && { fairnessWeight }),
  };
}

function priorityKey(value: string): number {
  if (/^[1-5]$/.test(value)) return Number(value);
  throw new InvalidArgumentError('It must be a whole number from 1 (first) to 5.');
}

/** Temporal takes 64 bytes. */
function fairnessKey(value: string): string {
  if (value !== '' && Buffer.byteLength(value) <= 64) return value;
  throw new InvalidArgumentError('It must have 1 to 64 bytes.');
}

/** Temporal's bounds. */
function fairnessWeight(value: string): number {
  const weight = Number(value);
  if (value.trim() !== '' && weight >= 0.001 && weight <= 1000) return weight;
  throw new InvalidArgumentError('It must be a number from 0.001 to 1000.');
}
