import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  completeManifest,
  isBucketOutput,
  MANIFEST_FILE,
  type Manifest,
  publishDirectory,
  publishToBucket,
} from '../engine/checkpoints';
import type { ArtifactRef } from '../engine/spec';
import type { AssembledCheckpoint } from './assemble-checkpoints';
import { localCheckpoint, stagingRoot } from './local-checkpoint';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';

/** Perplexity of the original and of the result. */
export type MeasuredPerplexity = Omit<NonNullable<Manifest['perplexity']>, 'context'>;

export interface PublishInput {
  readonly plan: ArtifactRef;
  readonly checkpoints: readonly AssembledCheckpoint[];
  readonly perplexity: MeasuredPerplexity | null;
  readonly run: {
    readonly workflowId: string;
    /** Milliseconds since 1970. */
    readonly startedAt: number;
    readonly seconds: number;
    readonly computed: number;
    readonly cached: number;
  };
}

export interface Published {
  /** By format. */
  readonly outputs: Readonly<Record<string, string>>;
  /** Of the first format. */
  readonly outputBytes: number;
  readonly bitsPerWeight: number;
}

/**
 * Writes the model card and completes the manifest, then makes the output appear with one rename.
 *
 * @throws QuantloomError OutputExists when something stands there and the spec does not say `overwrite`.
 */
export async function publishCheckpoints(
  { checkpoints, perplexity, run, ...input }: PublishInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Published> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const { spec, sourceBytes } = plan;
  const { workflowId: job, startedAt, seconds, computed, cached } = run;
  const complete = (directory: string) =>
    completeManifest(directory, {
      perplexity: perplexity && spec.evaluation && { ...perplexity, context: spec.evaluation.context },
      run: { job, started: new Date(startedAt).toISOString(), seconds, computed, cached },
      sourceBytes,
    });
  const staging = stagingRoot(spec.output, job, runtime);
  const [first] = checkpoints as readonly [AssembledCheckpoint];
  const published = {
    outputs: Object.fromEntries(checkpoints.map(({ format, output }) => [format, output])),
    outputBytes: first.checkpoint.bytes,
    bitsPerWeight: first.bitsPerWeight,
  };
  if (isBucketOutput(spec.output)) {
    const finished: { directory: string; place: string }[] = [];
    for (const checkpoint of checkpoints) {
      const directory = await localCheckpoint(checkpoint, runtime, attempt);
      await complete(directory);
      finished.push({ directory, place: checkpoints.length > 1 ? checkpoint.format : '' });
    }
    const { output, overwrite } = spec;
    const onFile = (file: string) => attempt.progress({ file });
    const publication = { output, checkpoints: finished, job, overwrite, signal: attempt.signal, onFile };
    await publishToBucket(publication, runtime.sources?.s3 ?? {});
    await rm(staging, { recursive: true, force: true });
    return published;
  }
  // Absent when an attempt before this one got as far as the rename.
  const renamed = !existsSync(staging) && existsSync(join(first.output, MANIFEST_FILE));
  if (!renamed) {
    for (const { directory } of checkpoints) await complete(directory);
    await publishDirectory(staging, resolve(spec.output), spec.overwrite);
  }
  return published;
}
