import { float32View } from '../../numbers';
import type { CodebookLinear, NestedAbsmax } from '../../quantizers/grids/codebook-grid';
import type { Int8RowsLinear } from '../../quantizers/grids/int8-rows-grid';
import { QuantloomError, type Tensor } from '../../spec';
import type { LinearSource } from '../linear-storage';
import { FOUR_BIT_PARTS, INT8_PARTS } from './layout';
import { parseQuantState, type QuantState } from './quant-state';

const DTYPES = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const;

/**
 * Reads what `encodeLinear` or bitsandbytes wrote, 4 bits in bytes or int8.
 *
 * @param module for messages
 * @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be.
 */
export async function readLinear(module: string, source: LinearSource): Promise<CodebookLinear | Int8RowsLinear> {
  const parts = new Parts(module, source);
  return source.settings.layout === 'int8' ? readInt8(parts) : readFourBit(parts);
}

/** The QuantState of a module, whichever type it is of. @throws QuantloomError InvalidCheckpoint. */
export async function readQuantState(parts: Pick<Parts, 'find' | 'nameOf'>): Promise<QuantState> {
  for (const part of Object.values(FOUR_BIT_PARTS.state)) {
    const tensor = await parts.find(part);
    if (tensor) return parseQuantState(parts.nameOf(part), tensor.data);
  }
  throw new QuantloomError('InvalidCheckpoint', `${parts.nameOf(FOUR_BIT_PARTS.state.nf4)} is missing, of fp4 too.`);
}

/** The tensors of one module. */
class Parts {
  constructor(
    private readonly module: string,
    private readonly source: Pick<LinearSource, 'where' | 'read'>,
  ) {}

  nameOf(part: string): string {
    return `${this.source.where}: ${this.module}.${part}`;
  }

  find(part: string): Promise<Tensor | null> {
    return this.source.read(`${this.module}.${part}`);
  }

  async read(part: string, dtype: string, shape: readonly number[]): Promise<Tensor> {
    const tensor = await this.find(part);
    if (!tensor) throw new QuantloomError('InvalidCheckpoint', `${this.nameOf(part)} is missing.`);
    if (tensor.dtype === dtype && tensor.shape.join() === shape.join()) return tensor;
    const found = `${tensor.dtype} [${tensor.shape.join(', ')}]`;
    throw new QuantloomError(
      'InvalidCheckpoint',
      `${this.nameOf(part)} is ${found}, expected ${dtype} [${shape.join(', ')}].`,
      { details: { tensor: `${this.module}.${part}`, found } },
    );
  }

  async floats(part: string, count: number): Promise<Float32Array> {
    return float32View((await this.read(part, 'F32', [count])).data);
  }
}

async function readFourBit(parts: Parts): Promise<CodebookLinear> {
  const state = await readQuantState(parts);
  const { quant_type: codebook, blocksize: blockSize, dtype, shape } = state;
  const [rows, columns] = shape;
  const count = rows * columns;
  const { data: packed } = await parts.read('weight', 'U8', [Math.ceil(count / 2), 1]);
  const codes = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    const byte = packed[at >> 1] as number;
    codes[at] = at % 2 === 0 ? byte >> 4 : byte & 15;
  }
  const blocks = Math.ceil(count / blockSize);
  const absmax =
    state.nested_blocksize === undefined
      ? await parts.floats(FOUR_BIT_PARTS.absmax, blocks)
      : await readNested(parts, blocks, state.nested_blocksize, state.nested_offset ?? 0);
  return { kind: 'codebook', rows, columns, codebook, blockSize, dtype: DTYPES[dtype], codes, absmax };
}

async function readNested(parts: Parts, blocks: number, blockSize: number, offset: number): Promise<NestedAbsmax> {
  const { data: codes } = await parts.read(FOUR_BIT_PARTS.absmax, 'U8', [blocks]);
  const levels = await parts.floats(FOUR_BIT_PARTS.nestedQuantMap, 256);
  const absmax = await parts.floats(FOUR_BIT_PARTS.nestedAbsmax, Math.ceil(blocks / blockSize));
  return { codes, levels, absmax, blockSize, offset: Math.fround(offset) };
}

async function readInt8(parts: Parts): Promise<Int8RowsLinear> {
  const format = await parts.find(INT8_PARTS.format);
  if (format && format.data[0] !== 0) {
    throw new QuantloomError(
      'InvalidCheckpoint',
      `${parts.nameOf(INT8_PARTS.format)} is ${format.data[0]}; 0, row-major, can be read. Save the model again with bitsandbytes 0.43 or later.`,
    );
  }
  const [rows = 0, columns = 0] = (await parts.find('weight'))?.shape ?? [];
  const { data } = await parts.read('weight', 'I8', [rows, columns]);
  const codes = new Int8Array(data.buffer, data.byteOffset, data.length);
  return { kind: 'int8-rows', rows, columns, codes, absmax: await parts.floats(INT8_PARTS.scale, rows) };
}
