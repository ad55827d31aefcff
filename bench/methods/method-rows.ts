/** One line of the table: a method at a width, in the format that most would load. */
export interface MethodRow {
  readonly name: string;
  readonly method: string;
  /** As the table shows it. */
  readonly bits: string;
  readonly format: string;
  /** Whether groups share scales; else the method says how many weights do. */
  readonly grouped: boolean;
  /** Flags of `quantloom quantize` beyond what all rows share. */
  readonly flags: readonly string[];
}

const affine = (method: string, bits: number, zeroPoints = false): MethodRow => {
  const format = zeroPoints ? 'gptq_v2' : 'gptq';
  return {
    name: `${method}-${bits}${zeroPoints ? '-asym' : ''}`,
    method,
    bits: `${bits}${zeroPoints ? ', zero points' : ''}`,
    format,
    grouped: true,
    flags: ['--bits', String(bits), zeroPoints ? '--asym' : '--sym'],
  };
};

const ofBitsandbytes = (method: string, bits: number, grouped: boolean): MethodRow => ({
  name: method,
  method,
  bits: String(bits),
  format: 'bitsandbytes',
  grouped,
  flags: [],
});

const inBlocks = (method: string, mix: string, bits: string): MethodRow => ({
  name: `${method}-${mix}`,
  method,
  bits,
  format: `gguf:${mix}`,
  grouped: false,
  flags: [],
});

export const METHOD_ROWS: readonly MethodRow[] = [
  affine('rtn', 8),
  affine('rtn', 4),
  affine('rtn', 3),
  affine('rtn', 2, true),
  affine('gptq', 8),
  affine('gptq', 4),
  affine('gptq', 3),
  affine('gptq', 2, true),
  { name: 'awq', method: 'awq', bits: '4, zero points', format: 'awq', grouped: true, flags: [] },
  ofBitsandbytes('nf4', 4, true),
  ofBitsandbytes('fp4', 4, true),
  ofBitsandbytes('llm-int8', 8, false),
  inBlocks('kquants', 'q4_k_m', '4 to 6'),
  inBlocks('gptq', 'q4_k_m', '4 to 6'),
  inBlocks('kquants', 'q3_k_m', '3 to 5'),
  inBlocks('gptq', 'q3_k_m', '3 to 5'),
  inBlocks('kquants', 'q2_k', '2 to 4'),
  inBlocks('gptq', 'q2_k', '2 to 4'),
];
