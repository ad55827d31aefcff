import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type CheckpointContext,
  type CheckpointFormat,
  createManifest,
  formatOf,
  MANIFEST_FILE,
  type Manifest,
  readSafetensorsHeader,
  serializeManifest,
} from '../engine/checkpoints';
import { type ArtifactRef, type BlockReport, elementCount, type LinearPlan, QuantloomError } from '../engine/spec';
import { computationVersions } from './computation-versions';
import { type JobPlan, readDocument, viewModel } from './model-view';
import type { SignedReport } from './quantize-linears';
import type { ActivityRuntime, Attempt } from './runtime';
import { stagingDirectory } from './staging-directory';
import { type Bench, readingBench } from './step';
import type { TokenizedCalibration } from './tokenize-calibration';

/** A checkpoint that is complete but not published yet. */
export interface AssembledCheckpoint {
  readonly format: string;
  /** Where it lies now. */
  readonly directory: string;
  /** Where it will be published. */
  readonly output: string;
  /** The whole of it, identified by its weights. */
  readonly checkpoint: ArtifactRef;
  /** Bytes of the weight files. */
  readonly bytes: number;
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

/** Links the finished layers to checkpoints, in a directory beside the output. Nothing is packed here. */
export async function assembleCheckpoints(
  input: AssembleInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ checkpoints: AssembledCheckpoint[] }> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const bench = readingBench(runtime, attempt);
  const reports: BlockReport[] = [];
  for (const report of input.reports) reports.push(await bench.readDocument<BlockReport>(report));
  const files = await readDocument<Record<string, { sha256: string; bytes: number }>>(input.files, runtime, attempt);

  const staging = stagingDirectory(plan.spec.output, input.job);
  await rm(staging, { recursive: true, force: true });
  const checkpoints: AssembledCheckpoint[] = [];
  for (const name of plan.spec.formats) {
    const several = plan.spec.formats.length > 1;
    const directory = several ? join(staging, name) : staging;
    const output = several ? join(resolve(plan.spec.output), name) : resolve(plan.spec.output);
    await mkdir(directory, { recursive: true }).catch((cause: unknown) => {
      throw new QuantloomError('OutputUnwritable', `The directory ${directory} cannot be made: ${String(cause)}`, {
        cause,
      });
    });
    attempt.progress({ directory });
    const shards = input.shards.map((formats) => formats[name] as ArtifactRef);
    const weights = await linkShards(directory, shards, bench, runtime);
    const assembled = await describe(directory, formatOf(name), { plan, reports, sourceFiles: files, input, weights });
    const sha256 = createHash('sha256')
      .update(shards.map((shard) => shard.sha256).join())
      .digest('hex');
    const bytes = weights.reduce((sum, file) => sum + file.bytes, 0);
    const checkpoint: ArtifactRef = { kind: 'checkpoint', sha256, bytes, at: { file: directory, offset: 0 } };
    checkpoints.push({ format: name, directory, output, checkpoint, bytes, bitsPerWeight: assembled.bitsPerWeight });
  }
  return { checkpoints };
}

type OutputFile = Manifest['files'][number];

/** Puts every finished layer in its place as a shard, and writes the index over them. */
async function linkShards(
  directory: string,
  shards: readonly ArtifactRef[],
  bench: Pick<Bench, 'withArtifact'>,
  runtime: ActivityRuntime,
): Promise<OutputFile[]> {
  const files: OutputFile[] = [];
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const [position, shard] of shards.entries()) {
    const name = `model-${number(position + 1)}-of-${number(shards.length)}.safetensors`;
    await bench.withArtifact(shard, (sha256) => runtime.store.exportTo(sha256, join(directory, name)));
    const { tensors } = await readSafetensorsHeader(join(directory, name), 'InvalidCheckpoint');
    for (const [tensor, { bytes }] of tensors) {
      weightMap[tensor] = name;
      totalSize += bytes;
    }
    files.push({ name, bytes: shard.bytes, sha256: shard.sha256 });
  }
  const index = { metadata: { total_size: totalSize }, weight_map: sorted(weightMap) };
  files.push(await writeText(directory, 'model.safetensors.index.json', `${JSON.stringify(index, null, 2)}\n`));
  return files;
}

/** Everything beside the weights: configuration, tokenizer, provenance. */
async function describe(
  directory: string,
  format: CheckpointFormat,
  parts: {
    plan: JobPlan;
    reports: readonly BlockReport[];
    sourceFiles: Readonly<Record<string, { sha256: string; bytes: number }>>;
    input: AssembleInput;
    weights: readonly OutputFile[];
  },
): Promise<Manifest> {
  const { plan, reports, sourceFiles, input } = parts;
  const linears = linearsOf(plan, reports);
  const versions = await computationVersions();
  const layout = format.layout(plannedLinears(plan));
  const context: CheckpointContext = {
    layout,
    sourceConfig: plan.config,
    linears,
    order: plan.spec.order,
    version: versions.quantloom as string,
  };
  const files = [...parts.weights];
  files.push(await writeText(directory, 'config.json', `${JSON.stringify(format.config(context), null, 2)}\n`));
  for (const [name, text] of format.files(context)) files.push(await writeText(directory, name, text));
  for (const name of plan.companions) {
    await copyFile(join(plan.directory, name), join(directory, name));
    files.push(describeFile(name, await readFile(join(directory, name))));
  }
  const signatures = new Map(
    reports.flatMap((report) =>
      (report.linears as SignedReport[]).map(({ name, weightSha256 }) => [name, weightSha256]),
    ),
  );
  const manifest = createManifest({
    quantloom: versions.quantloom as string,
    format: format.name,
    layout,
    source: {
      architecture: plan.architecture,
      configSha256: describeFile('', await readFile(join(plan.directory, 'config.json'))).sha256,
      files: Object.entries(sourceFiles).map(([name, { sha256, bytes }]) => ({ name, sha256, bytes })),
    },
    spec: plan.spec,
    linears: Object.fromEntries(
      linears.map(({ name, rows, columns, recipe }) => [
        name,
        { rows, columns, recipe, weightSha256: signatures.get(name) ?? null },
      ]),
    ),
    calibration: input.calibration && {
      sourceSha256: input.calibration.textSha256,
      tokensSha256: input.calibration.tokens.sha256,
      samples: plan.spec.calibration.samples,
      sequenceLength: plan.spec.calibration.sequenceLength,
      seed: plan.spec.calibration.seed,
    },
    reports,
    bitsPerWeight: bitsPerWeight(format, linears),
    perplexity: null,
    versions,
    files,
    // What is known of the run is filled in when the checkpoint is published.
    run: { job: input.job, started: new Date(0).toISOString(), seconds: 0, computed: 0, cached: 0 },
  });
  await writeFile(join(directory, MANIFEST_FILE), serializeManifest(manifest));
  return manifest;
}

function plannedLinears(plan: JobPlan): LinearPlan[] {
  return plan.blocks.flatMap((block) => block.stages.flatMap((stage) => stage.linears));
}

/** As planned, but for the layers that the operator chose to keep in 16 bit. */
function linearsOf(plan: JobPlan, reports: readonly BlockReport[]): LinearPlan[] {
  const skipped = new Set(reports.filter((report) => report.skipped).map(({ index }) => index));
  return plan.blocks.flatMap((block) =>
    block.stages.flatMap(({ linears }) =>
      skipped.has(block.index) ? linears.map((linear) => ({ ...linear, recipe: null })) : linears,
    ),
  );
}

function bitsPerWeight(format: CheckpointFormat, linears: readonly LinearPlan[]): number {
  const quantized = linears.filter(({ recipe }) => recipe !== null);
  const weights = (linear: LinearPlan) => elementCount([linear.rows, linear.columns]);
  const total = quantized.reduce((sum, linear) => sum + weights(linear), 0);
  const bits = quantized.reduce((sum, linear) => sum + weights(linear) * format.bitsPerWeight(linear), 0);
  return total > 0 ? bits / total : 16;
}

async function writeText(directory: string, name: string, text: string): Promise<OutputFile> {
  await writeFile(join(directory, name), text);
  return describeFile(name, Buffer.from(text));
}

function describeFile(name: string, content: Uint8Array): OutputFile {
  return { name, bytes: content.byteLength, sha256: createHash('sha256').update(content).digest('hex') };
}

function sorted<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function number(position: number): string {
  return String(position).padStart(5, '0');
}
