import { type GgufMetadata, type GgufValue, text, texts } from '../container/gguf-value';
import { isObject, type TokenizerSource } from './tokenizer-source';

const KEY = 'tokenizer.chat_template';

/** The chat template, and named ones beside it. Empty without any. */
export function chatTemplates({ tokenizerConfig, chatTemplate }: TokenizerSource): GgufMetadata {
  const given = tokenizerConfig.chat_template ?? chatTemplate;
  const metadata = new Map<string, GgufValue>();
  if (typeof given === 'string') metadata.set(KEY, text(given));
  if (!Array.isArray(given)) return metadata;
  const names: string[] = [];
  for (const entry of given) {
    if (!isObject(entry) || typeof entry.name !== 'string' || typeof entry.template !== 'string') continue;
    const name = entry.name.replace(/[^A-Za-z0-9]/g, '_');
    if (name !== 'default') names.push(name);
    metadata.set(name === 'default' ? KEY : `${KEY}.${name}`, text(entry.template));
  }
  if (names.length > 0) metadata.set('tokenizer.chat_templates', texts(names));
  return metadata;
}
