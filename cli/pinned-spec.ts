import { isPinned, pinAddress, sourceOf } from '../engine/sources';
import type { QuantizationSpec } from '../engine/spec';
import type { Invocation } from './command';
import { externalServer } from './temporal-client';

/**
 * The spec with the model that an address names now: the same command finds its job again as long as that is the same, and the
 * checkpoint says what it was made from. Workers elsewhere, which may see a hub that this machine does not, pin it themselves.
 *
 * @throws QuantloomError.
 */
export async function pinnedSpec(spec: QuantizationSpec, invocation: Invocation): Promise<QuantizationSpec> {
  const { settings, environment, signal, output } = invocation;
  if (sourceOf(spec.model) === null || isPinned(spec.model) || externalServer(environment)) return spec;
  const model = await pinAddress(spec.model, settings.sources, signal);
  output.note(`${spec.model} is ${model}`);
  return { ...spec, model };
}
