import { type GgufMetadata, text, texts, uint32 } from '../container/gguf-value';

/** `general.file_type`: what most of the weights are stored as (llama.cpp, `llama_ftype`). */
export const FILE_TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q2_K: 10,
  Q3_K_S: 11,
  Q3_K_M: 12,
  Q3_K_L: 13,
  Q4_K_S: 14,
  Q4_K_M: 15,
  Q5_K_S: 16,
  Q5_K_M: 17,
  Q6_K: 18,
  Q2_K_S: 21,
  IQ4_NL: 25,
  IQ4_XS: 30,
  BF16: 32,
  TQ1_0: 36,
  TQ2_0: 37,
  MXFP4_MOE: 38,
} as const;
export type FileType = keyof typeof FILE_TYPES;

/** Of ggml's block formats; it has not changed since 2023. */
const QUANTIZATION_VERSION = 2;

export interface GeneralMetadata {
  /** `general.architecture`. */
  readonly architecture: string;
  /** The model's name for people. */
  readonly name: string;
  readonly fileType: FileType;
  readonly license?: string;
  readonly tags?: readonly string[];
  /** Who quantized it, and with which version. */
  readonly quantizedBy?: string;
}

/** The keys that every model has. */
export function generalMetadata(general: GeneralMetadata): GgufMetadata {
  return new Map([
    ['general.architecture', text(general.architecture)],
    ['general.type', text('model')],
    ['general.name', text(general.name)],
    ...(general.license === undefined ? [] : [['general.license', text(general.license)] as const]),
    ...(general.tags === undefined ? [] : [['general.tags', texts(general.tags)] as const]),
    ...(general.quantizedBy === undefined ? [] : [['general.quantized_by', text(general.quantizedBy)] as const]),
    ['general.file_type', uint32(FILE_TYPES[general.fileType])],
    ['general.quantization_version', uint32(QUANTIZATION_VERSION)],
  ]);
}
