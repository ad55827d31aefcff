export interface SamplingOptions {
  /** 0: always the most likely token. */
  readonly temperature: number;
  /** Only the k most likely tokens. Default: all. */
  readonly topK?: number;
  /** Only the most likely tokens whose probabilities first add up to p (Holtzman et al. 2020, nucleus sampling). Default: 1, all. */
  readonly topP?: number;
}

/**
 * Draws the next token from softmax(logits / temperature). Equal logits rank by token id.
 *
 * @param logits `[vocabulary]`.
 * @param random uniform in [0, 1); not called at temperature 0.
 */
export function sampleToken(logits: Float32Array, options: SamplingOptions, random: () => number): number {
  const best = logits.reduce((winner, value, i) => (value > (logits[winner] as number) ? i : winner), 0);
  if (options.temperature === 0) return best;
  const ranked = Array.from(logits.keys()).sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
  const candidates = ranked.slice(0, options.topK ?? ranked.length);
  const maximum = logits[best] as number;
  const weights = candidates.map((token) => Math.exp(((logits[token] as number) - maximum) / options.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);

  const wanted = total * (options.topP ?? 1);
  let kept = 0;
  let mass = 0;
  while (kept < weights.length && mass < wanted) mass += weights[kept++] as number;

  let remaining = random() * mass;
  for (let i = 0; i < kept; i++) {
    remaining -= weights[i] as number;
    if (remaining < 0) return candidates[i] as number;
  }
  return candidates[Math.max(0, kept - 1)] as number;
}
