import { QuantloomError } from '../../../spec';
import { quoted } from '../../safetensors/header-scanner';
import type { GgufMetadata, GgufValue } from '../container/gguf-value';
import { mergesByScore } from './merges-by-score';
import { preTokenizerNamed } from './pre-tokenizers';
import { SPECIAL_ROLES } from './special-tokens';
import { TOKEN_TYPES } from './tokenizer-source';

interface Token {
  readonly id: number;
  readonly text: string;
  readonly type: number;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * tokenizer.json and tokenizer_config.json of a GGUF file's metadata, by name: they make the same tokens as the tokenizer that the
 * metadata was made of. Byte-level BPE split in a known way, and SentencePiece's BPE, whose merges follow from the scores.
 *
 * @throws QuantloomError UnsupportedInput for another kind; InvalidModel naming a key whose value is no list of what it should be.
 */
export function recoverTokenizer(metadata: GgufMetadata, where: string): ReadonlyMap<string, string> {
  const value = (key: string) => metadata.get(`tokenizer.ggml.${key}`)?.value;
  const model = metadata.get('tokenizer.ggml.model');
  const tokens = tokensOf(metadata);
  const contentOf = (key: string) => tokens.find(({ id }) => id === value(key))?.text;
  const build = model?.value === 'gpt2' ? byteLevel : model?.value === 'llama' ? sentencePiece : null;
  if (build === null || tokens.length === 0) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${where} has a tokenizer of type ${model?.type === 'string' ? quoted(model.value) : 'null'}; gpt2 and llama can be recovered. Put tokenizer.json of its source beside it.`,
    );
  }
  const first = value('add_bos_token') === true ? contentOf('bos_token_id') : undefined;
  const last = value('add_eos_token') === true ? contentOf('eos_token_id') : undefined;
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: tokens.filter(isAdded).map(({ id, text, type }) => ({
      id,
      content: text,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: type !== TOKEN_TYPES.userDefined,
    })),
    ...build(tokens, metadata),
    post_processor: template(first, last, tokens),
  };
  const roles = Object.entries(SPECIAL_ROLES).flatMap(([role, key]) => {
    const content = contentOf(key);
    return content === undefined ? [] : [[`${role}_token`, content] as const];
  });
  const chat = metadata.get('tokenizer.chat_template')?.value;
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...Object.fromEntries(roles),
    add_bos_token: first !== undefined,
    add_eos_token: last !== undefined,
    clean_up_tokenization_spaces: false,
    ...(typeof chat === 'string' && { chat_template: chat }),
  };
  const text = (json: object) => `${JSON.stringify(json, null, 2)}\n`;
  return new Map([
    ['tokenizer.json', text(tokenizer)],
    ['tokenizer_config.json', text(config)],
  ]);
}

function tokensOf(metadata: GgufMetadata): Token[] {
  const types = numbersOf(metadata, 'token_type');
  return textsOf(metadata, 'tokens')
    .map((text, id) => ({ id, text, type: types[id] ?? TOKEN_TYPES.normal }))
    .filter(({ type }) => type !== TOKEN_TYPES.unused);
}

/** Empty where there is no such key. @throws QuantloomError InvalidModel for anything but a list of text. */
function textsOf(metadata: GgufMetadata, key: string): readonly string[] {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return [];
  if (value.type === 'array' && value.value.of === 'string') return value.value.values;
  throw otherThan('a list of text', key, value);
}

/** Empty where there is no such key. @throws QuantloomError InvalidModel for anything but a list of numbers. */
function numbersOf(metadata: GgufMetadata, key: string): readonly number[] {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return [];
  if (value.type === 'array' && value.value.of !== 'string' && value.value.of !== 'bool') {
    return Array.from<number | bigint, number>(value.value.values, Number);
  }
  throw otherThan('a list of numbers', key, value);
}

function otherThan(expected: string, key: string, value: GgufValue): QuantloomError {
  const found = value.type === 'array' ? `a list of the type ${value.value.of}` : `of the type ${value.type}`;
  return new QuantloomError(
    'InvalidModel',
    `tokenizer.ggml.${key} is ${found}; expected ${expected}. Put tokenizer.json of the file's source beside it.`,
    { details: { key } },
  );
}

function isAdded({ type }: Token): boolean {
  return type === TOKEN_TYPES.control || type === TOKEN_TYPES.userDefined || type === TOKEN_TYPES.unknown;
}

/** GPT-2, Llama 3, Qwen. */
function byteLevel(tokens: readonly Token[], metadata: GgufMetadata): Json {
  const name = String(metadata.get('tokenizer.ggml.pre')?.value ?? 'gpt-2');
  const { steps, ignoreMerges, normalizer = null } = preTokenizerNamed(name);
  const prefix = metadata.get('tokenizer.ggml.add_space_prefix')?.value === true;
  const bytes = (ownRegex: boolean) => ({
    type: 'ByteLevel',
    add_prefix_space: prefix,
    trim_offsets: true,
    use_regex: ownRegex,
  });
  const splits = steps.map((step) => {
    if (step === 'bytes') return bytes(true);
    if (step === 'digits') return { type: 'Digits', individual_digits: true };
    return { type: 'Split', pattern: { Regex: step }, behavior: 'Isolated', invert: false };
  });
  const pretokenizers = steps.includes('bytes') ? splits : [...splits, bytes(false)];
  return {
    normalizer: normalizer && { type: normalizer },
    pre_tokenizer: pretokenizers.length === 1 ? pretokenizers[0] : { type: 'Sequence', pretokenizers },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...BPE,
      ignore_merges: ignoreMerges,
      // Added tokens too: transformers' library gives those that are not among them other ids.
      vocab: vocabularyOf(tokens),
      merges: textsOf(metadata, 'merges').map((merge) => {
        const space = merge.indexOf(' ', 1);
        return [merge.slice(0, space), merge.slice(space + 1)];
      }),
    },
  };
}

/** Llama 1 and 2, Mistral. */
function sentencePiece(tokens: readonly Token[], metadata: GgufMetadata): Json {
  const scores = numbersOf(metadata, 'scores');
  const prepends = metadata.get('tokenizer.ggml.add_space_prefix')?.value !== false;
  const unknown = tokens.find(({ type }) => type === TOKEN_TYPES.unknown);
  const space = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const pieces = tokens.filter(({ type }) => type === TOKEN_TYPES.normal);
  return {
    normalizer: { type: 'Sequence', normalizers: [...(prepends ? [{ type: 'Prepend', prepend: '▁' }] : []), space] },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prepends ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...BPE,
      unk_token: unknown?.text ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabularyOf(tokens),
      merges: mergesByScore(pieces.map(({ id, text }) => ({ id, text, score: scores[id] ?? 0 }))),
    },
  };
}

const BPE = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
};

function vocabularyOf(tokens: readonly Token[]): Record<string, number> {
  const vocabulary: Record<string, number> = Object.create(null);
  for (const { id, text } of tokens) vocabulary[text] ??= id;
  return vocabulary;
}

/** What is put around a text; null: nothing. */
function template(first: string | undefined, last: string | undefined, tokens: readonly Token[]): Json | null {
  if (first === undefined && last === undefined) return null;
  const around = (sequence: string, type_id: number) => [
    ...(first === undefined ? [] : [{ SpecialToken: { id: first, type_id } }]),
    { Sequence: { id: sequence, type_id } },
    ...(last === undefined ? [] : [{ SpecialToken: { id: last, type_id } }]),
  ];
  const special = [first, last].filter((token) => token !== undefined);
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      special.map((id) => [id, { id, ids: [tokens.find(({ text }) => text === id)?.id], tokens: [id] }]),
    ),
  };
}
