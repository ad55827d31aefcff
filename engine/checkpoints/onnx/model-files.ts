import type { StoredBits } from './nbits-weight';

/** How transformers.js calls a model by its weights (utils/dtypes.js of release 4), and what it appends to the name of the file. */
const WEIGHT_TYPES = {
  none: { dtype: 'fp32', suffix: '' },
  2: { dtype: 'q2', suffix: '_q2' },
  4: { dtype: 'q4', suffix: '_q4' },
  8: { dtype: 'q8', suffix: '_quantized' },
} as const;

export interface ModelFiles {
  /** `dtype` of transformers.js. */
  readonly dtype: string;
  /** Relative to the output, e.g. `onnx/model_q4.onnx`. */
  readonly model: string;
  /** Of the first data file, beside the model: `model_q4.onnx_data`. */
  readonly data: string;
}

/** Where transformers.js looks for a model whose smallest stored width is this; null: nothing is quantized. */
export function modelFiles(bits: StoredBits | null): ModelFiles {
  const { dtype, suffix } = WEIGHT_TYPES[bits ?? 'none'];
  const name = `model${suffix}.onnx`;
  return { dtype, model: `onnx/${name}`, data: `${name}_data` };
}

/**
 * The config.json of the directory: that of the source, as a dense model, with what transformers.js has to know to find the files by itself.
 */
export function onnxModelConfig(
  { quantization_config: _, ...source }: Readonly<Record<string, unknown>>,
  { dtype }: ModelFiles,
  dataFiles: number,
): Record<string, unknown> {
  return { ...source, 'transformers.js_config': { dtype, use_external_data_format: dataFiles } };
}
