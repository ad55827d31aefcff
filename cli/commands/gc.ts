import { Option } from 'commander';
import prettyBytes from 'pretty-bytes';
import { collectGarbage, openFileStore } from '../../engine/store';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { durationSeconds } from '../flag-values';

/** Needs no server. What a running job wrote within the last hour is never touched. */
export const gc: CommandDefinition = {
  configure(command) {
    command
      .addOption(
        new Option('--older-than <time>', 'results not used for this long, e.g. 12h, 7d')
          .argParser(durationSeconds)
          .default(durationSeconds('7d'), '7d'),
      )
      .option('--dry-run', 'count only');
  },

  async run({ settings, flags, output }) {
    const store = await openFileStore(settings.store);
    const report = await collectGarbage(store, {
      olderThanMilliseconds: (flags.olderThan as number) * 1000,
      dryRun: flags.dryRun === true,
    });
    const removed = `${report.recordsRemoved} results and ${report.artifactsRemoved} artifacts (${prettyBytes(report.bytesRemoved)})`;
    const kept = `${report.recordsKept} and ${report.artifactsKept} (${prettyBytes(report.bytesKept)})`;
    output.result(
      { store: settings.store, ...report },
      `${report.dryRun ? 'would remove' : 'removed'} ${removed}, kept ${kept} in ${settings.store}`,
    );
    return EXIT.done;
  },
};
