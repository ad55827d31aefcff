import { QuantloomError } from '../../../spec';
import type { GgufMetadata } from '../container/gguf-value';
import { configOfExperts } from './config-of-experts';
import { ggufArchitectureNamed } from './gguf-architectures';

/**
 * What config.json would say of a GGUF file's model.
 *
 * @throws QuantloomError UnsupportedArchitecture, UnsupportedInput for rotary scaling that the header does not name.
 */
export function configOfMetadata(
  metadata: GgufMetadata,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): Record<string, unknown> {
  const architecture = String(metadata.get('general.architecture')?.value);
  const { modelType, modelClass, fields, always, derived } = ggufArchitectureNamed(architecture).config;
  const scaling = metadata.get(`${architecture}.rope.scaling.type`)?.value ?? 'none';
  const factors = ['rope_freqs.weight', 'rope_factors_short.weight'].some((name) => tensors.has(name));
  if (factors || !(scaling === 'none' || (scaling === 'linear' && architecture === 'gemma3'))) {
    throw new QuantloomError(
      'UnsupportedInput',
      'The file scales rotary positions, and its header does not say by which rule. Put the config.json of its source beside it.',
    );
  }
  const read = (key: string) => {
    const value = metadata.get(`${architecture}.${key}`)?.value;
    return value === undefined ? undefined : decimal(Number(value));
  };
  const said = Object.entries(fields).flatMap(([field, key]) => {
    const value = read(key);
    return value === undefined ? [] : [[field, value] as const];
  });
  return {
    architectures: [modelClass],
    model_type: modelType,
    ...always,
    ...Object.fromEntries(said),
    ...derived?.(read),
    ...Object.fromEntries(
      ['bos_token_id', 'eos_token_id'].flatMap((field) => {
        const id = metadata.get(`tokenizer.ggml.${field}`)?.value;
        return id === undefined ? [] : [[field, Number(id)] as const];
      }),
    ),
    ...configOfExperts(metadata, architecture),
    vocab_size: tensors.get('token_embd.weight')?.shape[0],
    tie_word_embeddings: !tensors.has('output.weight'),
  };
}

/** As it was written before it became a float32: 1e-5, not 0.000009999999747378752. */
function decimal(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === value ? short : value;
}
