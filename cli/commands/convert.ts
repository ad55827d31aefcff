import type { Command } from 'commander';
import { QuantloomError } from '../../engine/spec';
import type { CommandDefinition } from '../command';
import { addShareFlags } from '../share-of-fleet';
import { addFlags, SPEC_FLAGS } from '../spec-flags';
import { quantize } from './quantize';

/** What can be said of a conversion; codes, widths and groups are those of the source. */
const FIELDS = ['formats', 'output', 'overwrite', 'evaluation'];

/** The job that `quantize` starts, with the codes that the source has. */
export const convert: CommandDefinition = {
  configure(command: Command) {
    addFlags(
      command,
      SPEC_FLAGS.filter(({ path: [field] }) => FIELDS.includes(field)),
    );
    addShareFlags(command);
    command.option('--detach', 'start the job and return; needs a server that keeps running');
  },

  async run(invocation) {
    const { flags } = invocation;
    if (flags.format === undefined) {
      throw new QuantloomError(
        'WrongUse',
        'No format given: name the formats to write, for example --format compressed-tensors,gguf.',
      );
    }
    return quantize.run({ ...invocation, flags: { ...flags, method: 'stored', dequantize: true } });
  },
};
