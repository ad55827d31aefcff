/** Types of ggml that have no entry here, to name them in messages. */
const NAMES: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  40: 'NVFP4',
  41: 'Q1_0',
};

export function foreignTypeName(id: number): string {
  return NAMES[id] === undefined ? `type ${id}` : `type ${id} (${NAMES[id]})`;
}
