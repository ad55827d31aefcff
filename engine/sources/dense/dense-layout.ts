import { type CheckpointReader, shardName } from '../../checkpoints';
import { layoutSafetensors, type SafetensorsLayout } from '../../checkpoints/safetensors';
import { architectureOf, transposedWeights } from '../../models';
import { type DType, QuantloomError } from '../../spec';

export interface DenseTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** It is stored quantized. */
  readonly quantized: boolean;
  /** The dense model has it as `[columns, rows]`. */
  readonly transposed: boolean;
}

/** A file of a dense copy. */
export interface DenseFile extends SafetensorsLayout {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, DenseTensor>;
}

export interface DenseLayout {
  /** One per layer, then one with what no layer owns. */
  readonly files: readonly DenseFile[];
  /** config.json of the dense model. */
  readonly config: Readonly<Record<string, unknown>>;
}

const DTYPES: Readonly<Record<string, 'F32' | 'F16' | 'BF16'>> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };
const LAYER = /^.+?\.\d+(?=\.)/;

/**
 * What the dense model of a checkpoint looks like in safetensors. What is quantized gets the dtype that config.json computes in; float16
 * where nothing says one, as GGUF's scales are. The rest keeps its own.
 *
 * @throws QuantloomError.
 */
export async function layoutDense(reader: CheckpointReader): Promise<DenseLayout> {
  const { quantization_config: _, compression_config: __, ...config } = reader.config;
  const said = String(config.dtype ?? config.torch_dtype ?? 'float16');
  const dtype = Object.hasOwn(DTYPES, said) ? DTYPES[said] : undefined;
  if (dtype === undefined) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${reader.directory}: config.json computes in ${JSON.stringify(said)}; ${Object.keys(DTYPES).join(', ')} can be dequantized to.`,
    );
  }
  const architecture = architectureOf(config, (name) => reader.has(name));
  const flipped = transposedWeights(architecture.blocks(architecture.shape(config), (name) => reader.has(name)));
  const groups = new Map<string, Map<string, DenseTensor>>();
  for (const name of reader.names()) {
    const group = LAYER.exec(name)?.[0] ?? '~';
    const tensors = groups.get(group) ?? new Map<string, DenseTensor>();
    groups.set(group, tensors.set(name, await tensorOf(name, dtype, reader, flipped)));
  }
  const sorted = [...groups].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
  return {
    files: sorted.map(([, tensors], position) => ({
      name: shardName(position, sorted.length),
      tensors,
      ...layoutSafetensors(tensors),
    })),
    config: config.dtype || config.torch_dtype ? config : { ...config, torch_dtype: said },
  };
}

async function tensorOf(
  name: string,
  dtype: DType,
  reader: CheckpointReader,
  flipped: ReadonlySet<string>,
): Promise<DenseTensor> {
  const shape = await reader.shape(name);
  if (!reader.quantized(name)) {
    return { dtype: reader.dtype(name), shape, quantized: false, transposed: false };
  }
  const transposed = flipped.has(name);
  return { dtype, shape: transposed ? shape.toReversed() : shape, quantized: true, transposed };
}
