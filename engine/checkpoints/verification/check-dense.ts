import { findNonFinite } from '../../numbers';
import type { DType } from '../../spec';
import { CheckRecord } from './check';
import type { StoredTensors } from './stored-tensors';

/** Tensors that are kept in floating point hold no NaN and no infinity. Memory: one tensor. */
export async function checkDense(stored: StoredTensors, signal?: AbortSignal): Promise<CheckRecord> {
  const check = new CheckRecord('dense tensors are finite', 'tensor');
  for (const [name, { dtype }] of stored.tensors) {
    if (!['F16', 'BF16', 'F32'].includes(dtype) || name.endsWith('.scales')) continue;
    signal?.throwIfAborted();
    const { count, first } = findNonFinite(await stored.read(name), dtype as DType);
    check.expect(count === 0, () => `${name}: ${count} values are NaN or infinite, the first at index ${first}`);
  }
  return check;
}
