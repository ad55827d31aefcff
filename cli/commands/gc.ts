import { Option } from 'commander';
import prettyBytes from 'pretty-bytes';
import { collectGarbage, openStore } from '../../engine/store';
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
    // It reads little, and nothing twice.
    const store = await openStore({ ...settings.store, cache: { ...settings.store.cache, bytes: 0 } });
    const report = await collectGarbage(store, {
      olderThanMilliseconds: (flags.olderThan as number) * 1000,
      dryRun: flags.dryRun === true,
    });
    const removed = `${report.recordsRemoved} results and ${report.artifactsRemoved} artifacts (${prettyBytes(report.bytesRemoved)})`;
    const unfinished =
      report.unfinishedRemoved === 0 ? '' : `, ended ${report.unfinishedRemoved} that were half-written`;
    const kept = `${report.recordsKept} and ${report.artifactsKept} (${prettyBytes(report.bytesKept)})`;
    output.result(
      { store: store.location, ...report },
      `${report.dryRun ? 'would remove' : 'removed'} ${removed}${unfinished}, kept ${kept} in ${store.location}`,
    );
    return EXIT.done;
  },
};
