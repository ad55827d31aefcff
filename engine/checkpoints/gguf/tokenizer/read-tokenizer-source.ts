import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readJsonObject } from '../../../sources/read-json-object';
import type { TokenizerSource } from './tokenizer-source';

const MAX_JSON_BYTES = 128 * 1024 * 1024;

/** Reads what a model's directory says of its tokenizer. @throws QuantloomError InvalidModel. */
export async function readTokenizerSource({
  directory,
  companions,
  config,
  vocabularySize,
}: {
  readonly directory: string;
  /** Files of the directory beside config and weights. */
  readonly companions: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly vocabularySize: number;
}): Promise<TokenizerSource> {
  const json = (file: string) => readJsonObject(join(directory, file), MAX_JSON_BYTES);
  const has = (file: string) => companions.includes(file);
  return {
    tokenizer: await json('tokenizer.json'),
    tokenizerConfig: has('tokenizer_config.json') ? await json('tokenizer_config.json') : {},
    modelConfig: config,
    chatTemplate: has('chat_template.jinja')
      ? await readFile(join(directory, 'chat_template.jinja'), 'utf8')
      : undefined,
    vocabularySize,
  };
}
