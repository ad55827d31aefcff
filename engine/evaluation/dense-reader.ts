import type { InputRounding } from '../models';
import type { FloatTensor, Tensor } from '../spec';

/** What an evaluation needs of a checkpoint, quantized or not: the dense model that it stands for. */
export interface DenseReader {
  /** config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  has(tensor: string): boolean;
  /** Whether it is stored quantized: the weight of a linear, which is read as `[rows, columns]` then. Default: none is. */
  quantized?(tensor: string): boolean;
  /** What runtimes round the input of a linear to, by its module. Default: it stays as it is. */
  inputs?(module: string): InputRounding | undefined;
  /** In float32; not kept by the reader. */
  float(tensor: string): Promise<FloatTensor>;
  /** As it is stored, where it is stored dense; else in float32. Not kept by the reader. */
  stored(tensor: string): Promise<Tensor>;
}
