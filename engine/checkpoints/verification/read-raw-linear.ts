import type { ModuleSettings } from '../gptq/module-settings';
import type { RawGptqLinear } from './decode-gptq';
import type { StoredTensors } from './stored-tensors';

/** What says how linears are stored. */
export interface LinearDescription {
  /** Who says so, with a verb, for messages: `config.json says`. */
  readonly describedBy: string;
  /** null: it says that the module is not quantized. */
  settingsOf(module: string): ModuleSettings | null;
}

export interface RawLinear extends RawGptqLinear {
  readonly describedBy: string;
}

/** The bytes of one linear, sized by the tensors alone: what is said of it has to agree. @throws Error saying what does not. */
export async function readRawLinear(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const partOf = (part: string) => stored.tensors.get(`${module}.${part}`);
  const [words = 0, N = 0] = partOf('qweight')?.shape ?? [];
  const [G = 0] = partOf('scales')?.shape ?? [];
  const K = partOf('g_idx')?.shape[0] ?? (words * 32) / settings.bits;
  const bits = (words * 32) / K;
  if (bits !== settings.bits) throw new Error(`the tensors hold ${bits} bits, ${describedBy} ${settings.bits}`);
  const dtype = partOf('scales')?.dtype;
  if (dtype !== 'F16') throw new Error(`scales are ${dtype}, not F16`);
  const [qweight, qzeros, scales] = (await Promise.all(
    ['qweight', 'qzeros', 'scales'].map((part) => stored.read(`${module}.${part}`)),
  )) as [Buffer, Buffer, Buffer];
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const index = partOf('g_idx') ? await stored.read(`${module}.g_idx`) : null;
  const groupOf = Int32Array.from({ length: K }, (_, column) =>
    index ? index.readInt32LE(4 * column) : Math.floor(column / groupSize),
  );
  const { layout: checkpointFormat, symmetric } = settings;
  return { K, N, G, bits, qweight, qzeros, scales, groupOf, checkpointFormat, symmetric, describedBy };
}
