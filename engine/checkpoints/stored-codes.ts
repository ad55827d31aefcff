import type { AffineLinear } from '../quantizers/grids/affine-grid';
import { QuantloomError } from '../spec';
import { openCheckpoint } from './open-checkpoint';

/** Reads the codes of one linear. @throws QuantloomError InvalidCheckpoint, UnsupportedInput when it has none on an integer grid. */
export type StoredCodes = (module: string) => Promise<AffineLinear>;

/** The codes of a quantized checkpoint, on integer grids: what another format can hold without a change. */
export async function openStoredCodes(directory: string): Promise<StoredCodes> {
  const reader = await openCheckpoint(directory);
  return async (module) => {
    const linear = await reader.linear(module);
    if (linear && 'kind' in linear && linear.kind === 'affine') return linear;
    throw new QuantloomError(
      'UnsupportedInput',
      `${directory}: ${module} has no codes on an integer grid, so no other format holds the same. Quantize it again (--dequantize).`,
      { details: { module } },
    );
  };
}
