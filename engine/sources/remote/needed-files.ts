import { QuantloomError } from '../../spec';
import { isCompanion } from '../companions';
import { INDEX, SINGLE } from '../weight-files';
import type { RemoteFile } from './model-source';

/** Of a model elsewhere, what quantizing it takes. */
export interface NeededFiles {
  readonly weights: readonly RemoteFile[];
  /** Config, tokenizer, index, licence: small. */
  readonly others: readonly RemoteFile[];
}

const CONFIGS: readonly string[] = ['config.json', 'quantize_config.json', INDEX];
/** Beside the model, or one folder down for chat templates. */
const NAME = /^(additional_chat_templates\/)?[^/\\\0]+$/;

/**
 * Chooses: `model.safetensors`, else the shards that the index names, and what belongs to a model. Nothing in other formats.
 *
 * @param readIndex names of the files that an index claims.
 * @throws QuantloomError InvalidModel, UnsupportedInput for a model without safetensors.
 */
export async function neededFiles(
  files: readonly RemoteFile[],
  address: string,
  readIndex: (index: RemoteFile) => Promise<ReadonlySet<string>>,
): Promise<NeededFiles> {
  const near = files.filter(({ path }) => NAME.test(path) && !/^\.\.?$/.test(path));
  const named = (name: string) => near.find(({ path }) => path === name);
  const single = named(SINGLE);
  const index = single ? undefined : named(INDEX);
  const claimed = index ? await readIndex(index) : new Set<string>();
  const weights = single ? [single] : near.filter(({ path }) => claimed.has(path));
  const missing = [...claimed].filter((path) => !named(path));
  if (missing.length > 0) {
    throw new QuantloomError('InvalidModel', `${address}: ${INDEX} names ${missing[0]}, which is not there.`);
  }
  if (weights.length === 0) throw noWeights(address, files);
  if (!named('config.json')) throw new QuantloomError('InvalidModel', `${address} has no config.json.`);
  const others = near.filter(({ path }) => path !== SINGLE && (CONFIGS.includes(path) || isCompanion(path)));
  return { weights, others: single ? others.filter(({ path }) => path !== INDEX) : others };
}

function noWeights(address: string, files: readonly RemoteFile[]): QuantloomError {
  const other = files.map(({ path }) => path).filter((path) => /\.(gguf|bin|pt|pth|safetensors)$/i.test(path));
  const found = other.length > 0 ? ` It has ${other.slice(0, 3).join(', ')}${other.length > 3 ? ', ...' : ''}.` : '';
  const gguf = other.some((path) => /\.gguf$/i.test(path))
    ? ' A GGUF file can be quantized by its path, once downloaded.'
    : '';
  return new QuantloomError(
    'UnsupportedInput',
    `${address} has neither ${SINGLE} nor ${INDEX}.${found}${gguf} Name a model in safetensors.`,
  );
}
