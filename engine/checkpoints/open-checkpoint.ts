import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf, decodeFloats } from '../numbers';
import type { QuantizedLinear } from '../quantizers/quantized-linear';
import { type FloatTensor, QuantloomError, type SourceTensor, type Tensor } from '../spec';
import { dequantizeLinear } from './dequantize-linear';
import { storedLinears } from './formats';
import { partNames, quantizedModules } from './linear-storage';
import { readTensor } from './safetensors';
import { readWeightFiles } from './weight-files';

/** A checkpoint as the dense model that it stands for. Nothing is kept: memory is bounded by the tensor that is read. */
export interface CheckpointReader {
  readonly directory: string;
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `dense`, or the `quant_method` of a quantized one. */
  readonly kind: string;
  /** Bytes of the weight files. */
  readonly weightBytes: number;
  /** Names of the tensors that the dense model would have, sorted: `<module>.weight` stands for the tensors that a quantized one has. */
  names(): readonly string[];
  has(name: string): boolean;
  /** Whether it is stored quantized; such a weight is `[rows, columns]` whatever the dense model's is. */
  quantized(name: string): boolean;
  /** @throws QuantloomError InvalidCheckpoint when there is no such tensor. */
  shape(name: string): readonly number[];
  /** The tensor in float32, dequantized when it is stored quantized. @throws QuantloomError InvalidCheckpoint. */
  float(name: string): Promise<FloatTensor>;
  /** The tensor as it lies in the file, or in float32 when it is stored quantized. @throws QuantloomError InvalidCheckpoint. */
  stored(name: string): Promise<Tensor>;
  /** The quantized weight of a module (a name without `.weight`), or null when it is dense. */
  linear(module: string): Promise<QuantizedLinear | null>;
}

/**
 * Opens a directory of safetensors, dense or in a format that can be written (any producer's): reads config.json and the headers, no weights.
 *
 * @throws QuantloomError InvalidCheckpoint, UnsupportedInput for another quantization method.
 */
export async function openCheckpoint(directory: string): Promise<CheckpointReader> {
  const config = await readConfig(directory);
  const stored = storedLinears(config);
  const { tensors, files } = await readWeightFiles(directory);
  const quantized = new Set(stored ? quantizedModules(stored.storage, tensors.keys()) : []);
  const parts = stored ? partNames(stored.storage, [...quantized]) : new Set<string>();
  const names = [
    ...[...tensors.keys()].filter((name) => !parts.has(name)),
    ...[...quantized].map((module) => `${module}.weight`),
  ].sort();
  const moduleOf = (name: string) => {
    const module = name.endsWith('.weight') ? name.slice(0, -'.weight'.length) : '';
    return quantized.has(module) ? module : null;
  };

  const settingsOf = (module: string) => {
    const settings = stored?.settingsOf(module);
    if (settings) return settings;
    throw invalid(`${module} is stored quantized, but quantization_config says that it is not.`);
  };
  const linear = async (module: string): Promise<QuantizedLinear | null> => {
    if (!stored || !quantized.has(module)) return null;
    const read = async (name: string) => {
      const tensor = tensors.get(name);
      return tensor ? readTensor(directory, tensor) : null;
    };
    return stored.storage.read(module, { where: directory, settings: settingsOf(module), read });
  };

  return {
    directory,
    config,
    kind: stored?.storage.method ?? 'dense',
    weightBytes: [...files.values()].reduce((sum, bytes) => sum + bytes, 0),
    names: () => names,
    has: (name) => moduleOf(name) !== null || (tensors.has(name) && !parts.has(name)),
    quantized: (name) => moduleOf(name) !== null,
    linear,

    shape(name) {
      const module = moduleOf(name);
      if (!stored || module === null) return tensorNamed(name).shape;
      return stored.storage.shape(settingsOf(module), (part) => tensorNamed(`${module}.${part}`).shape);
    },

    async float(name) {
      const module = moduleOf(name);
      if (module !== null) return dequantizeLinear((await linear(module)) as QuantizedLinear);
      const tensor = await readTensor(directory, tensorNamed(name));
      return { shape: tensor.shape, data: decodeFloats(tensor) };
    },

    async stored(name) {
      const module = moduleOf(name);
      if (module === null) return readTensor(directory, tensorNamed(name));
      const { shape, data } = dequantizeLinear((await linear(module)) as QuantizedLinear);
      return { dtype: 'F32', shape, data: bytesOf(data) };
    },
  };

  function tensorNamed(name: string): SourceTensor {
    const tensor = tensors.get(name);
    if (tensor) return tensor;
    throw invalid(`there is no tensor ${name} among ${tensors.size}.`);
  }

  function invalid(message: string): QuantloomError {
    return new QuantloomError('InvalidCheckpoint', `${directory}: ${message}`, { details: { directory } });
  }
}

/** config.json; AutoGPTQ's first versions put the quantization_config into a file of its own. */
async function readConfig(directory: string): Promise<Readonly<Record<string, unknown>>> {
  const config = await readObject(join(directory, 'config.json'));
  if (config.quantization_config) return config;
  const own = join(directory, 'quantize_config.json');
  const exists = await access(own).then(
    () => true,
    () => false,
  );
  return exists ? { ...config, quantization_config: { quant_method: 'gptq', ...(await readObject(own)) } } : config;
}

async function readObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const config: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof config === 'object' && config !== null && !Array.isArray(config))
      return config as Record<string, unknown>;
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  throw new QuantloomError('InvalidCheckpoint', `${path} is not a JSON object.`);
}
