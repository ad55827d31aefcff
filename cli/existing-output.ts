import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  hasManifestInBucket,
  isBucketOutput,
  MANIFEST_FILE,
  type Manifest,
  manifestInBucket,
  missingInBucket,
  parseManifest,
  placeInOutput,
  requireVerified,
  verifyCheckpoint,
} from '../engine/checkpoints';
import { isPinned, locateModel, type SourceAccess } from '../engine/sources';
import { type QuantizationSpec, QuantloomError } from '../engine/spec';
import { workflowIdOf } from './workflow-id';

/** Where the checkpoint of each format is published: `output` itself, or one directory in it per format. */
export function outputDirectories(spec: QuantizationSpec): Record<string, string> {
  const several = spec.formats.length > 1;
  if (isBucketOutput(spec.output)) {
    const entries = spec.formats.map((format) => [format, placeInOutput(spec.output, several ? format : '')]);
    return Object.fromEntries(entries);
  }
  return Object.fromEntries(spec.formats.map((format) => [format, several ? join(spec.output, format) : spec.output]));
}

/**
 * Refuses an output that exists, before anything is started. An earlier run of the same job is let through: its checkpoints are from
 * the same spec, and from model files that have not changed since.
 *
 * @throws QuantloomError OutputExists.
 */
export async function refuseExistingOutput(spec: QuantizationSpec, sources: SourceAccess): Promise<void> {
  if (spec.overwrite || !(await isThere(spec, sources)) || (await isOfSameJob(spec, sources))) return;
  throw new QuantloomError(
    'OutputExists',
    `${spec.output} exists and is not the result of this very job. Name another directory with --out, or replace it with --overwrite.`,
  );
}

/**
 * The checkpoints by format, when an earlier run of the same job has published them; null when there are none.
 *
 * @throws QuantloomError VerificationFailed when they are damaged.
 */
export async function alreadyPublished(
  spec: QuantizationSpec,
  sources: SourceAccess,
  signal: AbortSignal,
): Promise<Record<string, string> | null> {
  if (!(await isThere(spec, sources)) || !(await isOfSameJob(spec, sources))) return null;
  const directories = outputDirectories(spec);
  if (isBucketOutput(spec.output)) {
    for (const place of Object.values(directories)) await requireComplete(place, sources);
    return directories;
  }
  for (const directory of Object.values(directories)) requireVerified(await verifyCheckpoint(directory, { signal }));
  return directories;
}

async function isOfSameJob(spec: QuantizationSpec, sources: SourceAccess): Promise<boolean> {
  const read = (place: string) =>
    isBucketOutput(place) ? manifestInBucket(place, '', sources.s3 ?? {}) : readManifest(place);
  const manifests = await Promise.all(Object.values(outputDirectories(spec)).map(read));
  const own = manifests.filter((manifest) => manifest?.run.job === workflowIdOf(spec)) as Manifest[];
  if (own.length < manifests.length) return false;
  // What a pinned address names does not change.
  if (isPinned(spec.model)) return true;
  const model = await locateModel(spec.model, sources, { dequantize: spec.dequantize }).catch(() => null);
  return model !== null && own.every((manifest) => !sourceChanged(model.directory, manifest));
}

/** Whether anything stands at the output. */
export async function isThere(spec: QuantizationSpec, { s3 = {} }: SourceAccess): Promise<boolean> {
  if (!isBucketOutput(spec.output)) return existsSync(spec.output);
  const manifests = Object.values(outputDirectories(spec)).map((place) => hasManifestInBucket(place, '', s3));
  return (await Promise.all(manifests)).includes(true);
}

/** What is uploaded was verified before, and checked by the server; so names, sizes and hashes are compared. */
async function requireComplete(place: string, { s3 = {} }: SourceAccess): Promise<void> {
  const manifest = await manifestInBucket(place, '', s3);
  const missing = manifest ? await missingInBucket(place, '', manifest, s3) : [MANIFEST_FILE];
  if (missing.length === 0) return;
  const message = `${place} is damaged: ${missing.join(', ')} is missing or another. Make it again with --overwrite.`;
  throw new QuantloomError('VerificationFailed', message);
}

function readManifest(directory: string): Manifest | null {
  try {
    return parseManifest(readFileSync(join(directory, MANIFEST_FILE), 'utf8'));
  } catch {
    return null;
  }
}

/** By size and date: what is suspected wrongly is only refused. */
function sourceChanged(directory: string, manifest: Manifest): boolean {
  const started = Date.parse(manifest.run.started);
  return manifest.source.files.some(({ name, bytes }) => {
    try {
      const { size, mtimeMs } = statSync(join(directory, name));
      return size !== bytes || mtimeMs > started;
    } catch {
      return true;
    }
  });
}
