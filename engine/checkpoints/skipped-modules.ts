import { QuantloomError } from '../spec';

/**
 * What a list of modules that are not quantized means, as transformers has it: a module whose name begins with what a pattern (an
 * expression) matches, or ends with its text.
 *
 * @throws QuantloomError InvalidCheckpoint for a pattern that is no expression.
 */
export function skippedModules(patterns: readonly string[]): (module: string) => boolean {
  const matchers = patterns.map(matcher);
  return (module) => matchers.some((matches) => matches(module));
}

function matcher(pattern: string): (module: string) => boolean {
  try {
    const expression = new RegExp(`^(?:${pattern})`);
    return (module) => expression.test(module) || module.endsWith(pattern);
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `quantization_config: ${(cause as Error).message}`, { cause });
  }
}
