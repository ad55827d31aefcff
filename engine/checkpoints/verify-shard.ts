import type { Tensor } from '../spec';
import { dequantizeLinear } from './dequantize-linear';
import { formatOf } from './formats';
import { describedModules, type LinearSettings, settingsFor } from './linear-storage';
import type { RecordedLinear } from './recorded-linears';
import { parseSafetensors } from './safetensors';
import { CheckRecord, type VerificationCheck } from './verification/check';
import { checkDense } from './verification/check-dense';
import { checkLinears } from './verification/check-linears';
import { RawSafetensors } from './verification/raw-safetensors';
import { requirePassed } from './verification/require-passed';

export interface ShardDescription {
  /** Its name, for messages. */
  readonly name: string;
  readonly format: string;
  /** Variant of the format, as `CheckpointFormat.layout` says. */
  readonly layout: string;
  /** By module: every linear of the shard that is stored quantized. */
  readonly linears: Readonly<Record<string, RecordedLinear>>;
}

export interface ShardVerification {
  readonly name: string;
  /** False when any check has a finding. */
  readonly passed: boolean;
  readonly checks: readonly VerificationCheck[];
}

/**
 * Checks every value of one shard, in memory, as `verifyCheckpoint` does of a directory: with a decoder that shares no code with the packer,
 * against the main reader and what the quantizer recorded. How the shard stands to its checkpoint (config, index, which tensors there should
 * be) is left to `verifyCheckpoint`.
 *
 * Never throws for what it finds; `requireShardVerified` does. Memory: the shard, and two copies of one linear.
 *
 * @throws the signal's reason when it aborts.
 */
export async function verifyShard(
  content: Uint8Array,
  { name, format, layout, linears }: ShardDescription,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<ShardVerification> {
  const opening = new CheckRecord('the shard can be opened', 'file');
  const checks: CheckRecord[] = [opening];
  try {
    const { storage } = formatOf(format);
    const stored = await RawSafetensors.of(content);
    const { tensors } = parseSafetensors(content, name);
    opening.checked++;
    const settingsOf = (module: string) => {
      const recorded = linears[module];
      return recorded ? settingsFor(storage, recorded, layout) : null;
    };
    const read = async (tensor: string): Promise<Tensor | null> => tensors.get(tensor) ?? null;
    const witnesses = {
      storage,
      describedBy: 'the quantizer recorded',
      settingsOf,
      weightOf: async (module: string) => {
        const settings = settingsOf(module) as LinearSettings;
        return dequantizeLinear(await storage.read(module, { where: name, settings, read })).data;
      },
      meantSha256: (module: string) => linears[module]?.weightSha256 ?? null,
      meantInputScale: (module: string) => linears[module]?.inputScale,
    };
    const checked = await checkLinears(stored, witnesses, signal);
    const found = new Set(describedModules(storage, stored.tensors.keys(), (module) => module in linears));
    for (const module of Object.keys(linears)) if (!found.has(module)) checked.meaning.find(`${module}: missing`);
    checks.push(...Object.values(checked), await checkDense(stored, storage, signal));
  } catch (error) {
    if (signal?.aborted) throw error;
    opening.find((error as Error).message);
  }
  const passed = checks.every(({ findingCount }) => findingCount === 0);
  return { name, passed, checks: checks.map((check) => check.result()) };
}

/** @throws QuantloomError VerificationFailed that lists the findings; `details.checks` has all checks. */
export function requireShardVerified({ name, checks }: ShardVerification): void {
  requirePassed(checks, {
    where: name,
    advice: 'The shard is not to be published: check memory and disk of the worker, then retry, which packs it again.',
    details: { shard: name },
  });
}
