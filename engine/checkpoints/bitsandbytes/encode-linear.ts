import { bytesOf } from '../../numbers';
import { CODEBOOKS } from '../../quantizers/codebook/codebooks';
import type { CodebookLinear } from '../../quantizers/grids/codebook-grid';
import type { Int8RowsLinear } from '../../quantizers/grids/int8-rows-grid';
import type { Tensor } from '../../spec';
import { FOUR_BIT_PARTS, INT8_PARTS } from './layout';
import { serializeQuantState } from './quant-state';

const DTYPE_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/**
 * A quantized linear as the tensors that bitsandbytes' Linear4bit and Linear8bitLt save (docs/formats.md lists them).
 *
 * 4 bits: two codes a byte along the flattened weight, the first of a pair in the upper half; an odd one is followed by the code of zero.
 */
export function encodeLinear(name: string, linear: CodebookLinear | Int8RowsLinear): Map<string, Tensor> {
  const parts = linear.kind === 'codebook' ? fourBitTensors(linear) : int8Tensors(linear);
  return new Map(Object.entries(parts).map(([part, tensor]) => [`${name}.${part}`, tensor]));
}

function fourBitTensors(linear: CodebookLinear): Record<string, Tensor> {
  const { rows, columns, codebook, blockSize, dtype, absmax } = linear;
  const nested = absmax instanceof Float32Array ? null : absmax;
  const state = serializeQuantState({
    quant_type: codebook,
    blocksize: blockSize as 64,
    dtype: DTYPE_NAMES[dtype],
    shape: [rows, columns],
    ...(nested && { nested_blocksize: nested.blockSize, nested_dtype: 'float32', nested_offset: nested.offset }),
  });
  const packed = packPairs(linear);
  return {
    weight: { dtype: 'U8', shape: [packed.length, 1], data: packed },
    [FOUR_BIT_PARTS.absmax]: nested
      ? { dtype: 'U8', shape: [nested.codes.length], data: nested.codes }
      : floats(absmax as Float32Array),
    ...(nested && {
      [FOUR_BIT_PARTS.nestedAbsmax]: floats(nested.absmax),
      [FOUR_BIT_PARTS.nestedQuantMap]: floats(nested.levels),
    }),
    [FOUR_BIT_PARTS.quantMap]: floats(CODEBOOKS[codebook]),
    [FOUR_BIT_PARTS.state[codebook]]: { dtype: 'U8', shape: [state.length], data: state },
  };
}

function packPairs({ codes, codebook }: CodebookLinear): Uint8Array {
  const zero = CODEBOOKS[codebook].indexOf(0);
  return Uint8Array.from({ length: Math.ceil(codes.length / 2) }, (_, pair) => {
    return ((codes[2 * pair] as number) << 4) | (codes[2 * pair + 1] ?? zero);
  });
}

function int8Tensors({ rows, columns, codes, absmax }: Int8RowsLinear): Record<string, Tensor> {
  return {
    [INT8_PARTS.scale]: floats(absmax),
    weight: { dtype: 'I8', shape: [rows, columns], data: new Uint8Array(codes.buffer, codes.byteOffset, codes.length) },
    // Row-major: what is left of layouts that bitsandbytes once had.
    [INT8_PARTS.format]: { dtype: 'U8', shape: [], data: Uint8Array.of(0) },
  };
}

function floats(values: Float32Array): Tensor {
  return { dtype: 'F32', shape: [values.length], data: bytesOf(values) };
}
