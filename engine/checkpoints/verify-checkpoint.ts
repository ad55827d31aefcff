import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { containerAt } from './container-at';
import { recordedFloats } from './formats';
import { MANIFEST_FILE, type Manifest, parseManifest } from './manifest';
import { type CheckpointReader, openCheckpoint } from './open-checkpoint';
import { CheckRecord, type VerificationCheck } from './verification/check';
import { checkCensus } from './verification/check-census';
import { checkDense } from './verification/check-dense';
import { checkFiles } from './verification/check-files';
import { checkLinears } from './verification/check-linears';
import { requirePassed } from './verification/require-passed';
import type { StoredTensors } from './verification/stored-tensors';
import type { StoredLinears } from './weight-container';

export interface VerificationResult {
  readonly directory: string;
  /** `dense`, how the linears of a quantized one are stored (`CheckpointReader.kind`), or `unreadable`. */
  readonly kind: string;
  /** False when any check has a finding. */
  readonly passed: boolean;
  /** Whether the directory has a `quantloom.json`; without one less can be checked, and the notes say what. */
  readonly hasManifest: boolean;
  readonly checks: readonly VerificationCheck[];
}

export interface VerificationOptions {
  readonly signal?: AbortSignal;
  /** false: no value of files that are shards is looked at, since `verifyShard` has verified them. Default true. */
  readonly values?: boolean;
}

/**
 * Loads a checkpoint back with a decoder that shares no code with the packer, and checks every file, tensor and value: against
 * the manifest, the config, the architecture, the main reader and the weights that the quantizer recorded.
 *
 * Never throws for what it finds; `requireVerified` does. Memory is bounded by two copies of one tensor.
 *
 * @throws the signal's reason when it aborts.
 */
export async function verifyCheckpoint(
  directory: string,
  { signal, values = true }: VerificationOptions = {},
): Promise<VerificationResult> {
  const opening = new CheckRecord('the checkpoint can be opened', 'directory');
  const manifest = await readManifest(directory, opening);
  const checks: CheckRecord[] = [opening];
  let kind = 'unreadable';
  try {
    const container = await containerAt(directory);
    checks.push(await checkFiles(directory, manifest, container.holdsWeights, signal));
    const { check, stored } = await container.inspect(directory);
    try {
      checks.push(check);
      const reader = await openCheckpoint(directory);
      const linears = reader.linears ?? (manifest && recordedFloats(manifest));
      kind = reader.kind;
      opening.checked++;
      checks.push(checkCensus(reader.config, linears, stored.tensors, manifest));
      if (values || !container.filesAreShards) {
        checks.push(...(await checkValues({ reader, linears, stored, manifest, signal })));
      }
    } finally {
      await stored.close();
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    opening.find((error as Error).message);
  }
  return {
    directory,
    kind,
    passed: checks.every(({ findingCount }) => findingCount === 0),
    hasManifest: manifest !== null,
    checks: checks.map((check) => check.result()),
  };
}

/** @throws QuantloomError VerificationFailed that lists the findings; `details.checks` has all checks. */
export function requireVerified(result: VerificationResult): void {
  requirePassed(result.checks, {
    where: result.directory,
    advice: 'The checkpoint is not to be used: write it again; if it was copied, compare it with the original.',
    details: { directory: result.directory },
  });
}

interface OpenedCheckpoint {
  readonly reader: CheckpointReader;
  readonly linears: StoredLinears | null;
  readonly stored: StoredTensors;
  readonly manifest: Manifest | null;
  readonly signal: AbortSignal | undefined;
}

async function checkValues({ reader, linears, stored, manifest, signal }: OpenedCheckpoint): Promise<CheckRecord[]> {
  const dense = () => checkDense(stored, linears?.storage ?? null, signal);
  if (!linears) return [await dense()];
  const witnesses = {
    ...linears,
    weightOf: async (module: string) => (await reader.float(`${module}.weight`)).data,
    meantSha256: (module: string) => manifest?.linears[module]?.weightSha256 ?? null,
    meantInputScale: (module: string) => manifest?.linears[module]?.inputScale,
  };
  const checks = await checkLinears(stored, witnesses, signal);
  noteUnrecorded(manifest, checks.meaning);
  return [...Object.values(checks), await dense()];
}

function noteUnrecorded(manifest: Manifest | null, check: CheckRecord): void {
  if (!manifest) {
    check.note('Without a manifest it is not known what the quantizer meant.');
    return;
  }
  const unrecorded = Object.values(manifest.linears).filter(
    ({ recipe, weightSha256 }) => recipe && !weightSha256,
  ).length;
  if (unrecorded > 0) check.note(`The manifest does not record the weights of ${unrecorded} linears.`);
}

async function readManifest(directory: string, check: CheckRecord): Promise<Manifest | null> {
  let text: string;
  try {
    text = await readFile(join(directory, MANIFEST_FILE), 'utf8');
  } catch {
    return null;
  }
  try {
    return parseManifest(text);
  } catch (error) {
    check.find((error as Error).message);
    return null;
  }
}
