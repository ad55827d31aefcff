import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type VerificationCheck, verifyCheckpoint } from '../../engine/checkpoints';
import { QuantloomError } from '../../engine/spec';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';

/** Loads a checkpoint back; needs no server. Exit code 1 when anything is wrong. */
export const verify: CommandDefinition = {
  async run({ args, workingDirectory, output, signal }) {
    const directory = resolve(workingDirectory, args[0] as string);
    if (!/\.gguf$/i.test(directory) && !statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
      throw new QuantloomError(
        'InvalidCheckpoint',
        `${directory} is not a directory. Give the directory of a checkpoint, or a GGUF file.`,
      );
    }
    const result = await verifyCheckpoint(directory, { signal });
    const verdict = result.passed ? 'verified' : 'NOT to be used';
    output.result(result, [...result.checks.flatMap(linesOf), `${directory} (${result.kind}): ${verdict}`].join('\n'));
    return result.passed ? EXIT.done : EXIT.failed;
  },
};

function linesOf({ name, unit, checked, findings, findingCount, notes }: VerificationCheck): string[] {
  const more = findingCount > findings.length ? [`    and ${findingCount - findings.length} more`] : [];
  return [
    `${findingCount === 0 ? '✓' : '✗'} ${name}: ${checked} ${checked === 1 ? unit : plural(unit)} checked`,
    ...findings.map((finding) => `    ${finding}`),
    ...more,
    ...notes.map((note) => `    note: ${note}`),
  ];
}

function plural(unit: string): string {
  return unit.replace(/y?$/, (y) => (y === '' ? 's' : 'ies'));
}
