import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CommandDefinition } from '../command';
import { addShareFlags } from '../share-of-fleet';
import { addFlags, SPEC_FLAGS } from '../spec-flags';
import { modelName } from '../workflow-id';
import { quantize } from './quantize';

/** What can be said of an importance matrix; it is of the model as it is. */
const FIELDS = ['calibration', 'output', 'overwrite', 'dequantize'];
const ELSEWHERE = ['originalShare'];

/** The job that `quantize` starts, up to what it weighs errors with: that is written to a file as llama-imatrix does. */
export const imatrix: CommandDefinition = {
  configure(command: Command) {
    addFlags(
      command,
      SPEC_FLAGS.filter(({ path: [field, part = ''] }) => FIELDS.includes(field) && !ELSEWHERE.includes(part)),
    );
    addShareFlags(command);
    command.option('--detach', 'start the job and return; needs a server that keeps running');
  },

  run(invocation) {
    const { flags, args, settings, workingDirectory } = invocation;
    const out = flags.out ?? resolve(workingDirectory, `${modelName(args[0] ?? '')}-imatrix.gguf`);
    const specDefaults = { ...settings.specDefaults, importanceOnly: true };
    return quantize.run({ ...invocation, flags: { ...flags, out }, settings: { ...settings, specDefaults } });
  },
};
