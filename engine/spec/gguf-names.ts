/** Block types of GGUF that weights are quantized to, by their names in ggml. */
export const QUANTIZED_BLOCK_TYPES = [
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q8_0',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
  'IQ4_NL',
  'IQ4_XS',
  'TQ1_0',
  'TQ2_0',
  'MXFP4',
] as const;
export type QuantizedBlockType = (typeof QUANTIZED_BLOCK_TYPES)[number];

/** Mixes of block types, as llama.cpp's quantize names them. */
export const GGUF_MIXES = [
  'q2_k',
  'q2_k_s',
  'q3_k_s',
  'q3_k_m',
  'q3_k_l',
  'q4_0',
  'q4_1',
  'q4_k_s',
  'q4_k_m',
  'q5_0',
  'q5_1',
  'q5_k_s',
  'q5_k_m',
  'q6_k',
  'q8_0',
  'iq4_nl',
  'iq4_xs',
  'tq1_0',
  'tq2_0',
  'mxfp4_moe',
] as const;
export type GgufMixName = (typeof GGUF_MIXES)[number];

/** What llama.cpp's quantize takes these names for. */
const ALIASES: Readonly<Record<string, string>> = {
  'gguf:q3_k': 'gguf:q3_k_m',
  'gguf:q4_k': 'gguf:q4_k_m',
  'gguf:q5_k': 'gguf:q5_k_m',
};

/** A format's name as it is written here: lower case, aliases resolved. */
export function formatNamed(name: string): string {
  const lower = name.toLowerCase();
  return Object.hasOwn(ALIASES, lower) ? (ALIASES[lower] as string) : lower;
}
