import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { encodeDocuments, loadTokenizer } from '../../engine/calibration';
import { openCheckpoint } from '../../engine/checkpoints';
import { perplexity, readEvaluationText } from '../../engine/evaluation';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { checkpointPath } from '../model-argument';

/** Needs no server. */
export const evaluate: CommandDefinition = {
  configure(command) {
    command
      .requiredOption('--text <file>', 'text to measure on, or demo')
      .option('--context <tokens>', 'tokens per window', wholeNumber, 512)
      .option('--max-tokens <n>', 'bound on the tokens', wholeNumber, 16384)
      .option('--threads <n>', 'threads', wholeNumber);
  },

  async run(invocation) {
    const { args, flags, settings, workingDirectory, output, signal } = invocation;
    const { checkpoint, directory } = await checkpointPath(args[0] as string, invocation);
    const text = flags.text as string;
    const { documents, sha256 } = await readEvaluationText(text === 'demo' ? text : resolve(workingDirectory, text));
    const most = flags.maxTokens as number;
    const tokens = await encodeDocuments(await loadTokenizer(directory), documents, { most });
    const context = flags.context as number;
    const result = await perplexity({
      checkpoint: await openCheckpoint(checkpoint),
      tokens,
      context,
      threads: settings.threads ?? availableParallelism(),
      signal,
    });
    output.result(
      { model: checkpoint, textSha256: sha256, context, ...result },
      `perplexity ${result.perplexity.toFixed(4)} over ${result.tokens} tokens, context ${context}`,
    );
    return EXIT.done;
  },
};
