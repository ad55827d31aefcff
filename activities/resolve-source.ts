import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readCalibrationText } from '../engine/calibration';
import { isBucketOutput } from '../engine/checkpoints';
import { readEvaluationText } from '../engine/evaluation';
import { findRelease } from '../engine/releases';
import { filesOfModel, pinAddress, resolveModelDirectory, sourceOf } from '../engine/sources';
import { parseQuantizationSpec, type QuantizationSpec, QuantloomError, type RequantizeRequest } from '../engine/spec';
import { computationKey } from './identity';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, perform } from './step';

export interface ResolveInput extends RequantizeRequest {
  /** When the run began, in milliseconds since 1970. */
  readonly startedAt: number;
}

/** A source as it is now. */
export interface ResolvedSource {
  /** What to quantize: an address is pinned. */
  readonly model: string;
  /** The pinned address, or `sha256:` of a model on disk. */
  readonly revision: string;
  /** SHA-256 of model, recipe and texts. */
  readonly identity: string;
  /** SHA-256 of the files of a model on disk, by name; empty for others. */
  readonly files: Readonly<Record<string, string>>;
  /** A name for the result, and its directory. */
  readonly candidate: { readonly name: string; readonly directory: string };
  /** Set when such a result has been judged already. */
  readonly known: { readonly reason: string; readonly current: string } | null;
}

interface SourceFile {
  readonly path: string;
  readonly bytes: number;
  readonly modified: string;
}

/** A file that has not been touched is not read again: recognized by path, size and time as `make` does. */
const hashFile = defineStep({
  name: 'source-file',
  version: 1,
  run: async ({ path }: SourceFile, { attempt }) => ({ sha256: await sha256OfFile(path, attempt.signal) }),
});

async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, { ...(signal && { signal }) });
  return hash.digest('hex');
}

/**
 * Finds out what a model is now, and whether a result of this model, recipe and these texts is there already.
 *
 * @throws QuantloomError.
 */
export async function resolveSource(
  { startedAt, rule, ...request }: ResolveInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<ResolvedSource> {
  const spec = parseQuantizationSpec(request.spec);
  if (isBucketOutput(spec.output)) {
    const text = `${spec.output}: releases are directories beside a link, which a bucket has not. Give a directory as output.`;
    throw new QuantloomError('UnsupportedInput', text);
  }
  const output = resolve(spec.output);
  const source = await revisionOf(spec.model, runtime, attempt);
  const identity = computationKey('requantize', 1, { revision: source.revision, ...(await recipeOf(spec)) });
  const stamp = new Date(startedAt).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const name = `${stamp}-${identity.slice(0, 8)}`;
  const known = await findRelease(output, identity, rule);
  return { ...source, identity, candidate: { name, directory: join(output, name) }, known };
}

/** What of a spec a result follows from: not where it lies, nor by how many it is made. Texts count by their content. */
async function recipeOf(spec: QuantizationSpec) {
  const {
    model: _model,
    output: _output,
    overwrite: _overwrite,
    concurrency: _layers,
    solveParts: _parts,
    ...recipe
  } = spec;
  const { calibration, evaluation, imatrix } = recipe;
  const { sha256 } = await readCalibrationText(calibration.source);
  return {
    ...recipe,
    calibration: { ...calibration, source: sha256 },
    ...(imatrix !== undefined && { imatrix: await sha256OfFile(imatrix) }),
    evaluation: evaluation && { ...evaluation, text: (await readEvaluationText(evaluation.text)).sha256 },
  };
}

async function revisionOf(
  model: string,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Pick<ResolvedSource, 'model' | 'revision' | 'files'>> {
  if (sourceOf(model) !== null) {
    if (!runtime.sources) throw new QuantloomError('WrongUse', `This worker has no directory of models for ${model}.`);
    const pinned = await pinAddress(model, runtime.sources, attempt.signal);
    return { model: pinned, revision: pinned, files: {} };
  }
  const files: Record<string, string> = {};
  for (const { name, path, bytes, modified } of await filesOfModel(resolveModelDirectory(model))) {
    attempt.progress({ file: name });
    files[name] = (await perform(hashFile, { path, bytes, modified }, runtime, attempt)).sha256;
  }
  return { model, revision: `sha256:${computationKey('model-files', 1, files)}`, files };
}
