import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { QuantloomError } from '../spec';
import { readGptqConfig } from './gptq/module-settings';
import { MANIFEST_FILE, type Manifest, parseManifest } from './manifest';
import { openCheckpoint } from './open-checkpoint';
import { CheckRecord, type VerificationCheck } from './verification/check';
import { checkCensus } from './verification/check-census';
import { checkDense } from './verification/check-dense';
import { checkFiles, checkHeaders } from './verification/check-files';
import { checkLinears } from './verification/check-linears';

export interface VerificationResult {
  readonly directory: string;
  readonly kind: 'dense' | 'gptq' | 'unreadable';
  /** False when any check has a finding. */
  readonly passed: boolean;
  /** Whether the directory has a `quantloom.json`; without one less can be checked, and the notes say what. */
  readonly hasManifest: boolean;
  readonly checks: readonly VerificationCheck[];
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
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<VerificationResult> {
  const opening = new CheckRecord('the checkpoint can be opened', 'directory');
  const manifest = await readManifest(directory, opening);
  const checks: CheckRecord[] = [opening];
  let kind: VerificationResult['kind'] = 'unreadable';
  try {
    checks.push(await checkFiles(directory, manifest, signal));
    const { check, places } = await checkHeaders(directory);
    checks.push(check);
    const reader = await openCheckpoint(directory);
    const gptq = readGptqConfig(reader.config);
    kind = reader.kind;
    opening.checked++;
    checks.push(checkCensus(reader.config, gptq, places, manifest));
    if (gptq) checks.push(...Object.values(await checkLinears(reader, gptq, places, manifest, signal)));
    checks.push(await checkDense(directory, places, signal));
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
  if (result.passed) return;
  const failed = result.checks.filter(({ findingCount }) => findingCount > 0);
  const total = failed.reduce((sum, { findingCount }) => sum + findingCount, 0);
  const shown = failed.flatMap(({ name, findings }) => findings.slice(0, 3).map((finding) => `[${name}] ${finding}`));
  throw new QuantloomError(
    'VerificationFailed',
    `${result.directory}: ${total} findings. ${shown.slice(0, 6).join('; ')}. ` +
      'The checkpoint is not to be used: write it again; if it was copied, compare it with the original.',
    { details: { directory: result.directory, checks: result.checks } },
  );
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
