import type { Machine } from '../../measure/machine';

/** One sentence about the machine. */
export function machineLine({ cpu, cores, memoryGiB, instructions, system, node }: Machine): string {
  return `Machine: ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${instructions.join(', ')}; ${system}, Node ${node}.`;
}
