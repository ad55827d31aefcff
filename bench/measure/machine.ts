import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';

/** The machine that something was measured on. */
export interface Machine {
  readonly cpu: string;
  /** That programs here may use. */
  readonly cores: number;
  readonly memoryGiB: number;
  /** Of the instruction sets that matrix products use: those that this processor has. */
  readonly instructions: readonly string[];
  readonly system: string;
  readonly node: string;
}

const INSTRUCTIONS = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimd', 'sve'];

export function describeMachine(): Machine {
  const flags = new Set(processorFlags());
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    instructions: INSTRUCTIONS.filter((name) => flags.has(name)),
    system: `${platform()} ${release().split(/[-+]/)[0]} ${arch()}`,
    node: process.version,
  };
}

function processorFlags(): string[] {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    return line?.[1]?.split(' ') ?? [];
  } catch {
    return [];
  }
}
