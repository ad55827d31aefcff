import { join } from 'node:path';
import { findNonFinite } from '../../numbers';
import type { DType } from '../../spec';
import { CheckRecord } from './check';
import type { TensorPlaces } from './check-files';
import { RawSafetensors } from './raw-safetensors';

/** Tensors that are kept in floating point hold no NaN and no infinity. Memory: one tensor. */
export async function checkDense(directory: string, places: TensorPlaces, signal?: AbortSignal): Promise<CheckRecord> {
  const check = new CheckRecord('dense tensors are finite', 'tensor');
  const dense = [...places].filter(
    ([name, { dtype }]) => ['F16', 'BF16', 'F32'].includes(dtype) && !name.endsWith('.scales'),
  );
  for (const file of new Set(dense.map(([, place]) => place.file))) {
    const raw = await RawSafetensors.open(join(directory, file));
    try {
      for (const [name, place] of dense) {
        if (place.file !== file) continue;
        signal?.throwIfAborted();
        const { count, first } = findNonFinite(await raw.read(name), place.dtype as DType);
        check.expect(count === 0, () => `${name}: ${count} values are NaN or infinite, the first at index ${first}`);
      }
    } finally {
      await raw.close();
    }
  }
  return check;
}
