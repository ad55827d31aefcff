import { elementCount } from '../../../spec';
import type { BlockTypeName } from '../blocks/block-type';
import type { GgufTensor } from '../container/layout-gguf';
import { FILE_TYPES, type FileType } from './general-metadata';

const PLAIN: readonly string[] = ['F32', 'F16', 'BF16'] satisfies BlockTypeName[];

/** What most of the quantized weights are stored as; of all weights, where none is quantized. */
export function fileTypeOf(tensors: readonly GgufTensor[]): FileType {
  const weights = new Map<string, number>();
  const quantized = tensors.filter(({ type }) => !PLAIN.includes(type));
  for (const { type, shape } of quantized.length > 0 ? quantized : tensors) {
    weights.set(type, (weights.get(type) ?? 0) + elementCount(shape));
  }
  const [most = 'F16'] = [...weights].sort(([, a], [, b]) => b - a).map(([type]) => type);
  return most in FILE_TYPES ? (most as FileType) : 'F16';
}
