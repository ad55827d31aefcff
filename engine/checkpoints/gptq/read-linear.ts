import type { QuantizedLinear } from '../../quantizers/quantized-linear';
import { QuantloomError, type Tensor } from '../../spec';
import { decodeLinear, type GptqTensors } from './decode-linear';
import type { ModuleSettings } from './module-settings';

/** The last part of the names of a linear's tensors. */
export const GPTQ_PARTS = ['qweight', 'qzeros', 'scales', 'g_idx'] as const;

/** Where the tensors of a module are, and how they are stored. */
export interface LinearSource {
  /** For messages. */
  readonly where: string;
  readonly settings: ModuleSettings;
  /** A tensor by its name; null when there is none. */
  read(tensor: string): Promise<Tensor | null>;
}

/**
 * Reads a quantized module.
 *
 * @throws QuantloomError InvalidCheckpoint for a tensor that is missing, and as `decodeLinear`.
 */
export async function readLinear(module: string, { where, settings, read }: LinearSource): Promise<QuantizedLinear> {
  const parts: Partial<Record<(typeof GPTQ_PARTS)[number], Tensor>> = {};
  for (const part of GPTQ_PARTS) {
    const tensor = await read(`${module}.${part}`);
    if (tensor) parts[part] = tensor;
    else if (part !== 'g_idx') {
      throw new QuantloomError('InvalidCheckpoint', `${where}: ${module}.${part} is missing beside ${module}.qweight.`);
    }
  }
  return decodeLinear(module, parts as GptqTensors, settings);
}
