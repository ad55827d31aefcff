import { availableParallelism } from 'node:os';
import { loadTokenizer } from '../../engine/calibration';
import { openCheckpoint } from '../../engine/checkpoints';
import { generate as generateTokens } from '../../engine/evaluation';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { realNumber, wholeNumber } from '../flag-values';
import { checkpointPath } from '../model-argument';

export interface ContinuationOptions {
  readonly checkpoint: string;
  /** Of the tokenizer. Default: the checkpoint's. */
  readonly directory?: string;
  readonly prompt: string;
  readonly maxNewTokens: number;
  /** 0: always the most likely token. */
  readonly temperature: number;
  readonly seed: number;
  readonly threads: number;
  readonly signal: AbortSignal;
}

/** Continues a prompt by a dense or quantized checkpoint. @returns the new text. */
export async function continuation(options: ContinuationOptions): Promise<{ text: string; tokens: number }> {
  const { checkpoint, directory = checkpoint, prompt, ...sampling } = options;
  const tokenizer = await loadTokenizer(directory);
  const tokens = await generateTokens({
    ...sampling,
    checkpoint: await openCheckpoint(checkpoint),
    promptTokens: await tokenizer.encode(prompt),
    stopTokens: tokenizer.endOfText === null ? [] : [tokenizer.endOfText],
  });
  return { text: tokenizer.decode(tokens, { skipSpecialTokens: true }), tokens: tokens.length };
}

/** Needs no server. */
export const generate: CommandDefinition = {
  configure(command) {
    command
      .requiredOption('--prompt <text>', 'text to continue')
      .option('--max-new-tokens <n>', 'bound on the new tokens', wholeNumber, 64)
      .option('--temperature <t>', '0: always the most likely token', realNumber, 0)
      .option('--seed <n>', 'of the sampling', wholeNumber, 0)
      .option('--threads <n>', 'threads', wholeNumber);
  },

  async run(invocation) {
    const { args, flags, settings, output, signal } = invocation;
    const prompt = flags.prompt as string;
    const { text, tokens } = await continuation({
      ...(await checkpointPath(args[0] as string, invocation)),
      prompt,
      maxNewTokens: flags.maxNewTokens as number,
      temperature: flags.temperature as number,
      seed: flags.seed as number,
      threads: settings.threads ?? availableParallelism(),
      signal,
    });
    output.result({ prompt, text, tokens }, `${prompt}${text}`);
    return EXIT.done;
  },
};
