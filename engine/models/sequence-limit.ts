import { QuantloomError } from '../spec';
import type { ModelShape } from './architecture';

/**
 * Refuses sequences that the model would attend to in another way than is computed here, or has no positions for.
 *
 * @param what what is so long, e.g. `evaluation.context`.
 * @throws QuantloomError UnsupportedInput.
 */
export function refuseLongSequences({ sequenceLimit }: ModelShape, tokens: number, what: string): void {
  if (!sequenceLimit || tokens <= sequenceLimit.tokens) return;
  throw new QuantloomError(
    'UnsupportedInput',
    `${what} is ${tokens} tokens; sequences of this model can have ${sequenceLimit.tokens} (config.json: ${sequenceLimit.field}). Make it shorter.`,
    { details: { tokens, limit: sequenceLimit.tokens, field: sequenceLimit.field } },
  );
}
