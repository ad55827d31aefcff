import { type Command, InvalidArgumentError } from 'commander';
import { type PromotionRule, type QuantizationSpec, QuantloomError } from '../engine/spec';

/** Flags that say when a new result takes the place of the promoted one. */
export function addRuleFlags(command: Command): void {
  command
    .option(
      '--max-perplexity-rise <percent>',
      'promote when perplexity rises by no more, or `any` (default 0.5%)',
      rise,
    )
    .option('--max-size-rise <percent>', 'promote when the weight files grow by no more, or `any` (default any)', rise);
}

/** @throws QuantloomError WrongUse when perplexity decides and is not measured. */
export function ruleFromFlags(flags: Readonly<Record<string, unknown>>, spec: QuantizationSpec): PromotionRule {
  const { maxPerplexityRise = 0.005, maxSizeRise = null } = flags as Partial<PromotionRule>;
  if (maxPerplexityRise !== null && spec.evaluation === null) {
    throw new QuantloomError(
      'WrongUse',
      'Results are promoted by their perplexity: name a text with --evaluate, or say --max-perplexity-rise any.',
    );
  }
  return { maxPerplexityRise, maxSizeRise };
}

/** `0.5%`, `0`, or `any`. @returns a share, or null. */
function rise(value: string): number | null {
  if (value === 'any') return null;
  const match = /^(\d+(?:\.\d+)?)%$/.exec(value === '0' ? '0%' : value);
  if (!match) throw new InvalidArgumentError('It must be a percentage such as 0.5%, 0, or any.');
  return Number(match[1]) / 100;
}

/** For people. */
export function ruleText({ maxPerplexityRise, maxSizeRise }: PromotionRule): string {
  const most = (share: number | null) => (share === null ? 'any' : `up to ${Number((share * 100).toPrecision(6))} %`);
  return `perplexity may rise by ${most(maxPerplexityRise)}, size by ${most(maxSizeRise)}`;
}
