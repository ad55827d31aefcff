import type { InputRounding } from '../models';
import { bytesOf, decodeFloats } from '../numbers';
import { type DType, type FloatTensor, QuantloomError, type Tensor } from '../spec';
import { containerAt } from './container-at';
import { dequantizeLinear } from './dequantize-linear';
import { storedLinears } from './formats';
import { partNames, quantizedModules, type StoredLinear } from './linear-storage';
import type { StoredLinears } from './weight-container';

/** A checkpoint as the dense model that it stands for. Nothing is kept: memory is bounded by the tensor that is read. */
export interface CheckpointReader {
  readonly directory: string;
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `dense`, or how the linears of a quantized one are stored: its `quant_method`, or `gguf`. */
  readonly kind: string;
  /** How its linears are stored; null: it is dense. */
  readonly linears: StoredLinears | null;
  /** Bytes of the weight files. */
  readonly weightBytes: number;
  /** Names of the tensors that the dense model would have, sorted: `<module>.weight` stands for the tensors that a quantized one has. */
  names(): readonly string[];
  has(name: string): boolean;
  /** Whether it is stored quantized; such a weight is `[rows, columns]` whatever the dense model's is. */
  quantized(name: string): boolean;
  /** What runtimes round the input of a linear to, by its module; undefined: it stays as it is. */
  inputs(module: string): InputRounding | undefined;
  /** Of a tensor that is not stored quantized. @throws QuantloomError InvalidCheckpoint when there is no such tensor. */
  dtype(name: string): DType;
  /** @throws QuantloomError InvalidCheckpoint when there is no such tensor. */
  shape(name: string): Promise<readonly number[]>;
  /** The tensor in float32, dequantized when it is stored quantized. @throws QuantloomError InvalidCheckpoint. */
  float(name: string): Promise<FloatTensor>;
  /** The tensor as it lies in the file, or in float32 when it is stored quantized. @throws QuantloomError InvalidCheckpoint. */
  stored(name: string): Promise<Tensor>;
  /** The weight of a module (a name without `.weight`) that is stored quantized; null when it is dense. */
  linear(module: string): Promise<StoredLinear | null>;
}

/**
 * Opens a checkpoint, dense or in a format that can be written (any producer's): reads its configuration and the headers, no weights.
 *
 * @param directory a directory of safetensors or with one GGUF file, or such a file.
 * @throws QuantloomError InvalidCheckpoint, UnsupportedInput for another quantization method.
 */
export async function openCheckpoint(directory: string): Promise<CheckpointReader> {
  const model = await (await containerAt(directory)).open(directory);
  const { config, tensors } = model;
  const stored = model.linears ?? storedLinears(config);
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
  const read = async (name: string) => (tensors.has(name) ? model.read(name) : null);
  const linear = async (module: string): Promise<StoredLinear | null> => {
    if (!stored || !quantized.has(module)) return null;
    return stored.storage.read(module, { where: directory, settings: settingsOf(module), read });
  };

  return {
    directory,
    config,
    kind: stored?.storage.method ?? 'dense',
    linears: stored,
    weightBytes: model.weightBytes,
    names: () => names,
    has: (name) => moduleOf(name) !== null || (tensors.has(name) && !parts.has(name)),
    quantized: (name) => moduleOf(name) !== null,
    inputs: (module) => (quantized.has(module) ? stored?.storage.inputs?.(settingsOf(module)) : undefined),
    linear,

    dtype: (name) => tensorNamed(name).dtype,

    async shape(name) {
      const module = moduleOf(name);
      if (!stored || module === null) return tensorNamed(name).shape;
      return stored.storage.shape(
        settingsOf(module),
        (part) => tensorNamed(`${module}.${part}`).shape,
        (part) => read(`${module}.${part}`),
      );
    },

    async float(name) {
      const module = moduleOf(name);
      if (module !== null) return dequantizeLinear((await linear(module)) as StoredLinear);
      tensorNamed(name);
      const tensor = await model.read(name);
      return { shape: tensor.shape, data: decodeFloats(tensor) };
    },

    async stored(name) {
      const module = moduleOf(name);
      if (module === null) {
        tensorNamed(name);
        return model.read(name);
      }
      const { shape, data } = dequantizeLinear((await linear(module)) as StoredLinear);
      return { dtype: 'F32', shape, data: bytesOf(data) };
    },
  };

  function tensorNamed(name: string): { readonly dtype: DType; readonly shape: readonly number[] } {
    const tensor = tensors.get(name);
    if (tensor) return tensor;
    throw invalid(`there is no tensor ${name} among ${tensors.size}.`);
  }

  function invalid(message: string): QuantloomError {
    return new QuantloomError('InvalidCheckpoint', `${directory}: ${message}`, { details: { directory } });
  }
}
