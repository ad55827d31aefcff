import type { GgufMixName, QuantizedBlockType } from '../../../spec';
import type { FileType } from '../models/general-metadata';

/** An entry of the table: a mix of block types under the name that llama.cpp's quantize has for it. */
export interface GgufMix {
  readonly name: GgufMixName;
  /** `general.file_type`. */
  readonly fileType: FileType;
  /** Of every matrix for which no rule says another (type-in-mix.ts). */
  readonly blockType: QuantizedBlockType;
  /** Of experts, where every other matrix has `blockType` without exception. Absent: as of other matrices. */
  readonly experts?: QuantizedBlockType;
}

/** Every mix. */
export const MIXES: Readonly<Record<GgufMixName, GgufMix>> = {
  q2_k: { name: 'q2_k', fileType: 'Q2_K', blockType: 'Q2_K' },
  q2_k_s: { name: 'q2_k_s', fileType: 'Q2_K_S', blockType: 'Q2_K' },
  q3_k_s: { name: 'q3_k_s', fileType: 'Q3_K_S', blockType: 'Q3_K' },
  q3_k_m: { name: 'q3_k_m', fileType: 'Q3_K_M', blockType: 'Q3_K' },
  q3_k_l: { name: 'q3_k_l', fileType: 'Q3_K_L', blockType: 'Q3_K' },
  q4_0: { name: 'q4_0', fileType: 'Q4_0', blockType: 'Q4_0' },
  q4_1: { name: 'q4_1', fileType: 'Q4_1', blockType: 'Q4_1' },
  q4_k_s: { name: 'q4_k_s', fileType: 'Q4_K_S', blockType: 'Q4_K' },
  q4_k_m: { name: 'q4_k_m', fileType: 'Q4_K_M', blockType: 'Q4_K' },
  q5_0: { name: 'q5_0', fileType: 'Q5_0', blockType: 'Q5_0' },
  q5_1: { name: 'q5_1', fileType: 'Q5_1', blockType: 'Q5_1' },
  q5_k_s: { name: 'q5_k_s', fileType: 'Q5_K_S', blockType: 'Q5_K' },
  q5_k_m: { name: 'q5_k_m', fileType: 'Q5_K_M', blockType: 'Q5_K' },
  q6_k: { name: 'q6_k', fileType: 'Q6_K', blockType: 'Q6_K' },
  q8_0: { name: 'q8_0', fileType: 'Q8_0', blockType: 'Q8_0' },
  iq4_nl: { name: 'iq4_nl', fileType: 'IQ4_NL', blockType: 'IQ4_NL' },
  iq4_xs: { name: 'iq4_xs', fileType: 'IQ4_XS', blockType: 'IQ4_XS' },
  tq1_0: { name: 'tq1_0', fileType: 'TQ1_0', blockType: 'TQ1_0' },
  tq2_0: { name: 'tq2_0', fileType: 'TQ2_0', blockType: 'TQ2_0' },
  mxfp4_moe: { name: 'mxfp4_moe', fileType: 'MXFP4_MOE', blockType: 'Q8_0', experts: 'MXFP4' },
};
