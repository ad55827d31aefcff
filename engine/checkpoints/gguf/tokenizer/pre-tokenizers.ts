import { QuantloomError } from '../../../spec';
import { elementsOf, isObject, type TokenizerSource } from './tokenizer-source';

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

export interface PreTokenizer {
  /** `tokenizer.ggml.pre`. */
  readonly name: string;
  /** What tokenizer.json splits by, step after step: a regular expression, `digits`, or `bytes` for GPT-2's own. */
  readonly steps: readonly string[];
  /** Whether llama.cpp keeps whole words together under this name. */
  readonly ignoreMerges: boolean;
  /** What such tokenizers do to texts before, and llama.cpp does not. */
  readonly normalizer?: string;
  /** Other names that llama.cpp takes for it. */
  readonly aliases?: readonly string[];
}

/** How llama.cpp splits texts before merging (src/llama-vocab.cpp, `LLAMA_VOCAB_PRE_TYPE_*`). */
const PRE_TOKENIZERS: readonly PreTokenizer[] = [
  { name: 'gpt-2', steps: ['bytes'], ignoreMerges: false },
  { name: 'smollm', steps: ['digits', 'bytes'], ignoreMerges: false },
  {
    name: 'llama-bpe',
    steps: [`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${REST}`],
    ignoreMerges: true,
    aliases: ['llama3', 'llama-v3'],
  },
  {
    name: 'qwen2',
    steps: [`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${REST}`],
    ignoreMerges: false,
    normalizer: 'NFC',
    aliases: ['deepseek-r1-qwen'],
  },
  {
    name: 'tekken',
    steps: [
      '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
    ],
    ignoreMerges: true,
  },
];

/**
 * The name under which llama.cpp splits texts as this byte-level tokenizer does.
 *
 * @throws QuantloomError UnsupportedInput for one that llama.cpp has no name for here: with another, the model would read other
 * tokens than it learnt.
 */
export function preTokenizerName({ tokenizer }: TokenizerSource, ignoreMerges: boolean): string {
  const steps = elementsOf(tokenizer.pre_tokenizer, 'pretokenizers').flatMap(stepOf);
  const found = PRE_TOKENIZERS.find(
    (entry) => entry.steps.length === steps.length && entry.steps.every((step, i) => step === steps[i]),
  );
  if (found !== undefined && found.ignoreMerges === ignoreMerges) return found.name;
  const what =
    found === undefined ? steps.join(' then ').slice(0, 300) : `${found.name} with ignore_merges ${ignoreMerges}`;
  throw new QuantloomError(
    'UnsupportedInput',
    `tokenizer.json splits texts in a way that is not known for GGUF: ${what || 'not at all'}. Known: ${PRE_TOKENIZERS.map(({ name }) => name).join(', ')}.`,
    { details: { steps } },
  );
}

/** How texts are split under a name of llama.cpp's. @throws QuantloomError UnsupportedInput for one that is not known. */
export function preTokenizerNamed(name: string): PreTokenizer {
  const found = PRE_TOKENIZERS.find((entry) => entry.name === name || entry.aliases?.includes(name));
  if (found) return found;
  throw new QuantloomError(
    'UnsupportedInput',
    `tokenizer.ggml.pre is ${JSON.stringify(name)}; known are ${PRE_TOKENIZERS.map((entry) => entry.name).join(', ')}. Put tokenizer.json of the file's source beside it.`,
  );
}

/** Empty for a step that splits nothing. */
function stepOf(step: Readonly<Record<string, unknown>>): readonly string[] {
  if (step.type === 'ByteLevel') return step.use_regex === false ? [] : ['bytes'];
  if (step.type === 'Digits' && step.individual_digits === true) return ['digits'];
  if (step.type === 'Split' && isObject(step.pattern) && typeof step.pattern.Regex === 'string') {
    return [step.pattern.Regex];
  }
  return [String(step.type)];
}
