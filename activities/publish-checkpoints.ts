import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { completeManifest, MANIFEST_FILE, type Manifest, publishDirectory } from '../engine/checkpoints';
import type { ArtifactRef } from '../engine/spec';
import type { AssembledCheckpoint } from './assemble-checkpoints';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { stagingDirectory } from './staging-directory';

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
  const staging = stagingDirectory(spec.output, run.workflowId);
  const [first] = checkpoints as readonly [AssembledCheckpoint];
  // Absent when an attempt before this one got as far as the rename.
  const renamed = !existsSync(staging) && existsSync(join(first.output, MANIFEST_FILE));
  if (!renamed) {
    const { workflowId: job, startedAt, seconds, computed, cached } = run;
    for (const { directory } of checkpoints) {
      await completeManifest(directory, {
        perplexity: perplexity && spec.evaluation && { ...perplexity, context: spec.evaluation.context },
        run: { job, started: new Date(startedAt).toISOString(), seconds, computed, cached },
        sourceBytes,
      });
    }
    await publishDirectory(staging, resolve(spec.output), spec.overwrite);
  }
  return {
    outputs: Object.fromEntries(checkpoints.map(({ format, output }) => [format, output])),
    outputBytes: first.checkpoint.bytes,
    bitsPerWeight: first.bitsPerWeight,
  };
}
