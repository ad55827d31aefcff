import type { StoredBits } from './nbits-weight';

/** How transformers.js calls a model by its weights (utils/dtypes.js of release 4), and what it appends to the name of the file. */
const WEIGHT_TYPES = {
  none: { dtype: 'fp32', suffix: '' },
  2: { dtype: 'q2', suffix: '_q2' },
  4: { dtype: 'q4', suffix: '_q4' },
  8: { dtype: 'q8', suffix: '_quantized' },
} as const;

/** Where transformers.js looks. */
export const MODEL_DIRECTORY = 'onnx';

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
  return { dtype, model: `${MODEL_DIRECTORY}/${name}`, data: `${name}_data` };
}

const DTYPES: readonly ModelFiles[] = ([null, 2, 4, 8] as const).map(modelFiles);

/** The same by the `dtype`. @throws Error for one that is none of ours. */
export function modelFilesOf(dtype: string): ModelFiles {
  const files = DTYPES.find((candidate) => candidate.dtype === dtype);
  if (files) return files;
  throw new Error(`No model is called by the dtype ${dtype}.`);
}

/** Whether a file of a model's directory is a model, or holds its weights. */
export function isModelFile(file: string): boolean {
  return /^onnx\/[^/]+\.onnx(_data(_\d+)?)?$/.test(file);
}

/**
 * The config.json of the directory: that of the source as a dense model, with what transformers.js has to know to find the files by itself.
 */
export function onnxModelConfig(
  config: Readonly<Record<string, unknown>>,
  { dtype }: ModelFiles,
  dataFiles: number,
): Record<string, unknown> {
  return { ...config, 'transformers.js_config': { dtype, use_external_data_format: dataFiles } };
}
