import type { TokenizerLayout, TokenizerPart } from './safe-boundaries';

/**
 * Replaces the pre-tokenizer `Digits` by the `Split` that it stands for: the reference implementation takes every numeric character
 * (Unicode category N: ½, ², Ⅳ ...) for a digit, @huggingface/tokenizers 0.2.0 only the decimal ones.
 */
export function withUnicodeDigits<T extends TokenizerLayout>(layout: T): T {
  return layout.pre_tokenizer ? { ...layout, pre_tokenizer: replaced(layout.pre_tokenizer) } : layout;
}

function replaced(part: TokenizerPart): TokenizerPart {
  if (part.type === 'Sequence') {
    return { ...part, pretokenizers: (part.pretokenizers as readonly TokenizerPart[]).map(replaced) };
  }
  if (part.type !== 'Digits') return part;
  const pattern = { Regex: part.individual_digits === true ? '\\p{N}' : '\\p{N}+' };
  return { type: 'Split', pattern, behavior: 'Isolated', invert: false };
}
