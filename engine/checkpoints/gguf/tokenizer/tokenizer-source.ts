/** What a model's directory says of its tokenizer: JSON, parsed and not judged. */
export interface TokenizerSource {
  /** tokenizer.json */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json; empty when there is none. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
  /** config.json */
  readonly modelConfig: Readonly<Record<string, unknown>>;
  /** chat_template.jinja, where the template is a file of its own. */
  readonly chatTemplate?: string;
  /** Rows of the embedding: as many tokens are listed, what the tokenizer does not know as unused. */
  readonly vocabularySize: number;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** `tokenizer.ggml.token_type` (llama.cpp, `llama_token_type`). */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

type Json = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The parts of a tokenizer.json element that may be a `Sequence` of others (`pretokenizers`, `normalizers`, `processors`). */
export function elementsOf(element: unknown, parts: string): readonly Json[] {
  if (!isObject(element)) return [];
  const list = element[parts];
  if (element.type !== 'Sequence' || !Array.isArray(list)) return [element];
  return list.flatMap((part) => elementsOf(part, parts));
}
