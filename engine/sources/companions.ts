/**
 * Files that belong to a model beside its config and weights: what a runtime needs to tokenize, to prompt and to generate, and the
 * licence that must travel along. By the names that transformers writes.
 */
const COMPANIONS: readonly RegExp[] = [
  /^tokenizer.*\.(json|txt|jinja)$/,
  /\.(model|model\.v\d+|tiktoken)$/,
  /^(vocab|merges|added_tokens|special_tokens_map|normalizer|tekken)\.(json|txt|bpe)$/,
  /^(generation|preprocessor|processor|image_processor|video_preprocessor)_config\.json$/,
  /^chat_template.*\.(json|jinja)$/,
  /^additional_chat_templates\/[^/]+\.jinja$/,
  /^(licen[cs]e|notice|copying|use_policy|usage_policy)([._-].*)?$/i,
];

/** Whether a file of a model's directory (path relative to it, with `/`) is copied next to the quantized weights. */
export function isCompanion(file: string): boolean {
  return COMPANIONS.some((pattern) => pattern.test(file));
}
