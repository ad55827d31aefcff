import { findNonFinite } from '../../numbers';
import type { DType } from '../../spec';
import { type LinearStorage, partNames, quantizedModules } from '../linear-storage';
import { CheckRecord } from './check';
import type { StoredTensors } from './stored-tensors';

/**
 * Tensors that are kept in floating point hold no NaN and no infinity. Memory: one tensor.
 *
 * @param storage of the linears that are quantized, whose tensors are left out; null: there are none.
 */
export async function checkDense(
  stored: StoredTensors,
  storage: LinearStorage | null,
  signal?: AbortSignal,
): Promise<CheckRecord> {
  const check = new CheckRecord('dense tensors are finite', 'tensor');
  const parts = storage && partNames(storage, quantizedModules(storage, stored.tensors.keys()));
  for (const [name, { dtype }] of stored.tensors) {
    if (!['F16', 'BF16', 'F32'].includes(dtype) || parts?.has(name)) continue;
    signal?.throwIfAborted();
    const { count, first } = findNonFinite(await stored.read(name), dtype as DType);
    check.expect(count === 0, () => `${name}: ${count} values are NaN or infinite, the first at index ${first}`);
  }
  return check;
}
