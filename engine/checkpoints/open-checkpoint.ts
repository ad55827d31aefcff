import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf, decodeFloats } from '../numbers';
import type { QuantizedLinear } from '../quantizers/quantized-linear';
import { type FloatTensor, QuantloomError, type SourceTensor, type Tensor } from '../spec';
import { dequantizeLinear } from './dequantize-linear';
import { moduleSettings, readGptqConfig } from './gptq/module-settings';
import { GPTQ_PARTS, readLinear } from './gptq/read-linear';
import { readTensor } from './safetensors';
import { readWeightFiles } from './weight-files';

/** A checkpoint as the dense model that it stands for. Nothing is kept: memory is bounded by the tensor that is read. */
export interface CheckpointReader {
  readonly directory: string;
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly kind: 'dense' | 'gptq';
  /** Bytes of the weight files. */
  readonly weightBytes: number;
  /** Names of the tensors that the dense model would have, sorted: `<module>.weight` stands for qweight and what belongs to it. */
  names(): readonly string[];
  has(name: string): boolean;
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
 * Opens a dense or GPTQ directory (any producer's): reads config.json and the headers, no weights.
 *
 * @throws QuantloomError InvalidCheckpoint, UnsupportedInput for another quantization method.
 */
export async function openCheckpoint(directory: string): Promise<CheckpointReader> {
  const config = await readConfig(directory);
  const gptq = readGptqConfig(config);
  const { tensors, files } = await readWeightFiles(directory);
  const quantized = new Set<string>();
  if (gptq) {
    for (const name of tensors.keys()) if (name.endsWith('.qweight')) quantized.add(name.slice(0, -'.qweight'.length));
  }
  const isPart = (name: string) => {
    const dot = name.lastIndexOf('.');
    return quantized.has(name.slice(0, dot)) && GPTQ_PARTS.some((part) => part === name.slice(dot + 1));
  };
  const names = [
    ...[...tensors.keys()].filter((name) => !isPart(name)),
    ...[...quantized].map((module) => `${module}.weight`),
  ].sort();
  const moduleOf = (name: string) => {
    const module = name.endsWith('.weight') ? name.slice(0, -'.weight'.length) : '';
    return quantized.has(module) ? module : null;
  };

  const settingsOf = (module: string) => {
    const settings = gptq && moduleSettings(gptq, module);
    if (settings) return settings;
    throw invalid(`${module} is stored quantized, but quantization_config says that it is not.`);
  };
  const linear = async (module: string): Promise<QuantizedLinear | null> => {
    if (!quantized.has(module)) return null;
    const read = async (name: string) => {
      const tensor = tensors.get(name);
      return tensor ? readTensor(directory, tensor) : null;
    };
    return readLinear(module, { where: directory, settings: settingsOf(module), read });
  };

  return {
    directory,
    config,
    kind: gptq ? 'gptq' : 'dense',
    weightBytes: [...files.values()].reduce((sum, bytes) => sum + bytes, 0),
    names: () => names,
    has: (name) => moduleOf(name) !== null || (tensors.has(name) && !isPart(name)),
    linear,

    shape(name) {
      const module = moduleOf(name);
      if (module === null) return tensorNamed(name).shape;
      const [words = 0, rows = 0] = tensorNamed(`${module}.qweight`).shape;
      return [rows, (words * 32) / settingsOf(module).bits];
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
