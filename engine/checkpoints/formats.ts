import { QuantloomError } from '../spec';
import { awq } from './awq/awq-format';
import { bitsandbytes } from './bitsandbytes/bitsandbytes-format';
import { compressedTensors } from './compressed-tensors/compressed-tensors-format';
import { dequantized, dequantizedFloat32 } from './dequantized/dequantized-format';
import type { CheckpointFormat, FormatName } from './format';
import { fp8Storage } from './fp8/fp8-storage';
import { gguf, ggufMixes } from './gguf/gguf-format';
import { gptq, gptqV2 } from './gptq/gptq-format';
import { type LinearStorage, settingsFor } from './linear-storage';
import type { Manifest } from './manifest';
import { onnx } from './onnx/onnx-format';
import type { StoredLinears } from './weight-container';

/** Every format that can be written. */
export const CHECKPOINT_FORMATS: Readonly<Record<FormatName, CheckpointFormat>> = {
  gptq,
  gptq_v2: gptqV2,
  'compressed-tensors': compressedTensors,
  awq,
  gguf,
  ...ggufMixes,
  bitsandbytes,
  onnx,
  dequantized,
  'dequantized-float32': dequantizedFloat32,
};

/** What is read and not written. */
const READ_ONLY: readonly LinearStorage[] = [fp8Storage];

/** The smallest zero point that every one of these formats can store. */
export function smallestZeroOf(formats: readonly FormatName[]): 0 | 1 {
  return Math.max(...formats.map((format) => formatOf(format).smallestZero)) as 0 | 1;
}

/** The entry of a format's name. @throws QuantloomError UnsupportedInput when there is none. */
export function formatOf(name: string): CheckpointFormat {
  if (Object.hasOwn(CHECKPOINT_FORMATS, name)) return CHECKPOINT_FORMATS[name as FormatName];
  throw new QuantloomError(
    'UnsupportedInput',
    `"${name}" is no format of this version of Quantloom, which has ${Object.keys(CHECKPOINT_FORMATS).join(', ')}.`,
    { details: { format: name } },
  );
}

/**
 * What a config.json says of its model's linears, in whichever format; null when the model is dense.
 *
 * @throws QuantloomError UnsupportedInput, InvalidCheckpoint.
 */
export function storedLinears(config: Readonly<Record<string, unknown>>): StoredLinears | null {
  const raw = config.quantization_config as Record<string, unknown> | null | undefined;
  if (!raw) return null;
  const written = Object.values(CHECKPOINT_FORMATS).map((format) => format.storage);
  const storages = [...new Set([...written, ...READ_ONLY])].filter(({ describe }) => describe);
  const storage = storages.find(({ method }) => method === raw.quant_method);
  const described = storage?.describe?.(raw);
  if (!storage || !described) {
    const known = storages.map(({ method }) => `"${method}"`);
    throw new QuantloomError(
      'UnsupportedInput',
      `quantization_config.quant_method is ${JSON.stringify(raw.quant_method)}; dense checkpoints and those of ${known.join(', ')} can be read.`,
      { details: { quantMethod: raw.quant_method } },
    );
  }
  return { storage, describedBy: 'config.json says', ...described };
}

/** What a manifest says of linears that are stored as floats, which nothing else tells from those that were kept; null: they are codes. */
export function recordedFloats({ format, layout, linears }: Manifest): StoredLinears | null {
  const storage = Object.hasOwn(CHECKPOINT_FORMATS, format) ? formatOf(format).storage : null;
  if (!storage?.floats) return null;
  return {
    storage,
    layout,
    describedBy: 'the manifest says',
    settingsOf(module) {
      const recipe = linears[module]?.recipe;
      return recipe ? settingsFor(storage, recipe, layout) : null;
    },
  };
}
