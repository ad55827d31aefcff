import type { PromotionRule } from '../spec';
import type { Release } from './release-record';

/** Whether a result is to be promoted, and why, for people. */
export interface Verdict {
  readonly promote: boolean;
  readonly reason: string;
}

/** Compares a result with the promoted one by the rule. Two perplexities are compared only when the same tokens were scored in the same way. */
export function judgeRelease(candidate: Release, promoted: Release | null, rule: PromotionRule): Verdict {
  if (promoted === null) return { promote: true, reason: 'the first result' };
  const faults: string[] = [];
  const remarks: string[] = [];
  const perplexity = comparePerplexity(candidate, promoted, rule.maxPerplexityRise);
  const size = compare('size', candidate.bytes, promoted.bytes, rule.maxSizeRise, (bytes) => `${bytes} bytes`);
  for (const { within, text } of [perplexity, size]) (within ? remarks : faults).push(text);
  return faults.length > 0
    ? { promote: false, reason: faults.join('; ') }
    : { promote: true, reason: remarks.join('; ') };
}

interface Comparison {
  readonly within: boolean;
  readonly text: string;
}

function comparePerplexity(candidate: Release, promoted: Release, most: number | null): Comparison {
  const [now, before] = [candidate.perplexity, promoted.perplexity];
  if (now === null || before === null) {
    const whose = now === null ? 'the new result' : promoted.name;
    return { within: most === null, text: `the perplexity of ${whose} was not measured` };
  }
  const same =
    now.textSha256 === before.textSha256 && now.context === before.context && now.scoredTokens === before.scoredTokens;
  if (!same) {
    return {
      within: most === null,
      text: `perplexity was measured on another text, or otherwise, than of ${promoted.name}`,
    };
  }
  return compare('perplexity', now.value, before.value, most, (value) => value.toFixed(3));
}

function compare(
  what: string,
  now: number,
  before: number,
  most: number | null,
  shown: (value: number) => string,
): Comparison {
  const change = now / before - 1;
  const within = most === null || change <= most;
  const limit = within ? '' : `, more than the ${percent(most)} that the rule allows`;
  const sign = change > 0 ? '+' : '';
  return { within, text: `${what} ${shown(now)} after ${shown(before)} (${sign}${percent(change)}${limit})` };
}

function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`;
}
