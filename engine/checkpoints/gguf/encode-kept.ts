import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { decodeFloats, encodeFloats } from '../../numbers';
import type { QuantizedBlockType, Tensor } from '../../spec';
import type { KeptStorage, KeptTensor } from '../format';
import type { RecordedLinear } from '../recorded-linears';
import { recipeOfBlocks } from './block-settings';
import type { BlockTypeName } from './blocks/block-type';
import { BLOCK_TYPES, blockBytesOf } from './blocks/block-types';
import { encodeBlocks } from './blocks/encode-blocks';
import { BLOCKS } from './gguf-storage';

/** Weights that are encoded before the event loop gets a turn: less than a tenth of a second. */
const WEIGHTS_PER_TURN = 1 << 17;

/** Modules that choose experts, or weigh the shared one. */
const ROUTER = /\.(block_sparse_moe\.gate|mlp\.gate|mlp\.shared_expert_gate)\.weight$/;

/**
 * Norms and biases in float32: llama.cpp computes with nothing else. Routers too, as in its converter. Matrices are blocks of the type that a mix has for them, by search without
 * importance; or stay in the source's 16 bit.
 *
 * @param kept its block type; undefined: none.
 * @throws QuantloomError NonFiniteWeights for a weight that the type cannot hold.
 */
export async function encodeKept(name: string, tensor: Tensor, kept?: KeptTensor): Promise<Map<string, Tensor>> {
  if (kept) return new Map([[name.replace(/weight$/, BLOCKS), await inBlocks(name, tensor, kept.as as BlockTypeName)]]);
  if ((tensor.shape.length !== 1 && !ROUTER.test(name)) || tensor.dtype === 'F32') return new Map([[name, tensor]]);
  return new Map([[name, { ...tensor, dtype: 'F32', data: encodeFloats(decodeFloats(tensor), 'F32') }]]);
}

/** What verification needs of kept matrices that became blocks, by module. */
export function recordKept(storage: KeptStorage): Record<string, RecordedLinear> {
  return Object.fromEntries(
    Object.entries(storage).map(([name, { as }]) => {
      const blockType = as as QuantizedBlockType;
      return [
        name.replace(/\.weight$/, ''),
        { ...recipeOfBlocks(BLOCK_TYPES[blockType]), blockType, weightSha256: null },
      ];
    }),
  );
}

async function inBlocks(name: string, tensor: Tensor, typeName: BlockTypeName): Promise<Tensor> {
  const type = BLOCK_TYPES[typeName];
  const [rows, columns] = tensor.shape as [number, number];
  const data = new Uint8Array(blockBytesOf(type, rows, columns));
  const rowBytes = data.length / rows;
  const sourceRowBytes = tensor.data.length / rows;
  const rowsPerTurn = Math.max(1, Math.floor(WEIGHTS_PER_TURN / columns));
  for (let first = 0; first < rows; first += rowsPerTurn) {
    const last = Math.min(rows, first + rowsPerTurn);
    const part = tensor.data.subarray(first * sourceRowBytes, last * sourceRowBytes);
    const values = decodeFloats({ ...tensor, shape: [last - first, columns], data: part });
    data.set(encodeBlocks({ type, values, columns, name }), first * rowBytes);
    await yieldToEventLoop();
  }
  return { dtype: 'U8', shape: [rows, rowBytes], data };
}
