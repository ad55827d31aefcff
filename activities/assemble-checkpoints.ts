import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import {
  assembleCheckpoint,
  describeFile,
  formatOf,
  isBucketOutput,
  MANIFEST_FILE,
  type Manifest,
  type OutputFile,
  placeInOutput,
  type StoredShard,
  weightFilesOf,
} from '../engine/checkpoints';
import { computationVersions } from '../engine/computation-versions';
import { type ArtifactRef, type BlockReport, QuantloomError } from '../engine/spec';
import { type StagedCheckpoint, stagingRoot, storeFiles } from './local-checkpoint';
import { readDocument, viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { type Bench, readingBench } from './step';
import type { TokenizedCalibration } from './tokenize-calibration';

/** A checkpoint that is complete but not published yet. */
export interface AssembledCheckpoint extends StagedCheckpoint {
  readonly format: string;
  /** Where it will be published. */
  readonly output: string;
  /** The whole of it, identified by its weights. */
  readonly checkpoint: ArtifactRef;
  /** Mean over the quantized weights, scales and zeros included. */
  readonly bitsPerWeight: number;
}

export interface AssembleInput {
  readonly plan: ArtifactRef;
  /** Document: SHA-256 and size of every source file. */
  readonly files: ArtifactRef;
  readonly calibration: Pick<TokenizedCalibration, 'tokens' | 'textSha256'> | null;
  /** By format, in the order of the checkpoint. */
  readonly shards: readonly Readonly<Record<string, ArtifactRef>>[];
  /** Documents: BlockReport. */
  readonly reports: readonly ArtifactRef[];
  readonly job: string;
}

/** Puts the finished layers together to checkpoints, in a directory beside the output. Nothing is packed here. */
export async function assembleCheckpoints(
  input: AssembleInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ checkpoints: AssembledCheckpoint[] }> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const { spec } = plan;
  const bench = readingBench(runtime, attempt);
  const reports: BlockReport[] = [];
  for (const report of input.reports) reports.push(await bench.readDocument<BlockReport>(report));
  const sourceFiles = await readDocument<Record<string, OutputFile>>(input.files, runtime, attempt);
  const versions = await computationVersions();
  const calibration = input.calibration && {
    sourceSha256: input.calibration.textSha256,
    tokensSha256: input.calibration.tokens.sha256,
    samples: spec.calibration.samples,
    sequenceLength: spec.calibration.sequenceLength,
    seed: spec.calibration.seed,
  };

  const staging = stagingRoot(spec.output, input.job, runtime);
  const inBucket = isBucketOutput(spec.output);
  await rm(staging, { recursive: true, force: true });
  const checkpoints: AssembledCheckpoint[] = [];
  for (const name of spec.formats) {
    // With several formats, each has a directory of its own.
    const place = (root: string) => (spec.formats.length > 1 ? join(root, name) : root);
    const directory = place(staging);
    attempt.progress({ directory });
    await makeDirectory(directory);
    const manifest = await assembleCheckpoint(directory, {
      plan,
      spec,
      format: formatOf(name),
      reports,
      sourceFiles,
      shards: input.shards.map((formats) => storedShard(formats[name] as ArtifactRef, bench, runtime)),
      signal: attempt.signal,
      calibration,
      versions,
      // What is known of the run is filled in when the checkpoint is published.
      run: { job: input.job, started: new Date(0).toISOString(), seconds: 0, computed: 0, cached: 0 },
    });
    const weights = weightFilesOf(manifest);
    const files = inBucket && (await storeFiles(directory, await filesOf(directory, manifest), runtime, attempt));
    checkpoints.push({
      format: name,
      directory: inBucket ? relative(dirname(staging), directory) : directory,
      ...(files && { files }),
      output: inBucket ? placeInOutput(spec.output, place('')) : place(resolve(spec.output)),
      checkpoint: {
        kind: 'checkpoint',
        sha256: createHash('sha256')
          .update(weights.map(({ sha256 }) => sha256).join())
          .digest('hex'),
        bytes: weights.reduce((sum, { bytes }) => sum + bytes, 0),
        ...(!inBucket && { at: { file: directory, offset: 0 } }),
      },
      bitsPerWeight: manifest.bitsPerWeight,
    });
  }
  return { checkpoints };
}

/** With the manifest itself. */
async function filesOf(directory: string, { files }: Pick<Manifest, 'files'>): Promise<OutputFile[]> {
  return [...files, describeFile(MANIFEST_FILE, await readFile(join(directory, MANIFEST_FILE)))];
}

async function makeDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true }).catch((cause: unknown) => {
    throw new QuantloomError('OutputUnwritable', `The directory ${directory} cannot be made: ${String(cause)}`, {
      cause,
    });
  });
}

/** A finished layer in the store; one that is lost is packed again. */
function storedShard(shard: ArtifactRef, bench: Pick<Bench, 'withArtifacts'>, { store }: ActivityRuntime): StoredShard {
  const { bytes, sha256 } = shard;
  return {
    async exportTo(path) {
      await bench.withArtifacts([shard], () => store.exportTo(sha256, path));
      return { bytes, sha256 };
    },
  };
}
