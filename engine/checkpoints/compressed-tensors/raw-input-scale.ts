import type { LinearDescription } from '../linear-storage';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/** The tensors that hold a scale of inputs, by what inputs become. */
const PARTS: Readonly<Record<string, string>> = { 'fp8-static': 'input_scale', nvfp4: 'input_global_scale' };

/**
 * Decoder of the verification: the number that all inputs of a linear are quantized with, where there is one.
 *
 * @throws Error saying what of the tensors does not agree with what is said of them.
 */
export async function readRawInputScale(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<Pick<RawLinear, 'inputScale'>> {
  const { activations = 'none' } = settingsOf(module) ?? {};
  const wanted = PARTS[activations];
  const found = Object.values(PARTS).filter((part) => stored.tensors.has(`${module}.${part}`));
  if (found.join() !== (wanted ?? '')) {
    throw new Error(
      `scales of inputs are ${found.join(' and ') || 'missing'}, ${describedBy} activations ${activations}`,
    );
  }
  if (wanted === undefined) return {};
  const name = `${module}.${wanted}`;
  const values = rawFloats(await stored.read(name), stored.tensors.get(name)?.dtype ?? '');
  return { inputScale: { part: wanted, values, where: () => 'all tokens' } };
}
