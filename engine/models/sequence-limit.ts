import { QuantloomError } from '../spec';
import type { ModelShape } from './architecture';

/**
 * Refuses sequences that the model would attend to in another way than is computed here, or has no positions for.
 *
 * @param what what is so long, e.g. `Prompt and continuation`.
 * @throws QuantloomError UnsupportedInput.
 */
export function refuseLongSequences({ sequenceLimit }: ModelShape, tokens: number, what: string): void {
  if (!sequenceLimit || tokens <= sequenceLimit.tokens) return;
  throw new QuantloomError(
    'UnsupportedInput',
    `${what}: ${tokens} tokens are more than the ${sequenceLimit.tokens} that a sequence of this model can have here (config.json: ${sequenceLimit.field}). Make it shorter.`,
    { details: { tokens, limit: sequenceLimit.tokens, field: sequenceLimit.field } },
  );
}
