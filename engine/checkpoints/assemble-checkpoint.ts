import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { BlockReport, LinearPlan, LinearReport, ModelPlan, QuantizationSpec } from '../spec';
import { createManifest, type ManifestInput } from './create-manifest';
import type { CheckpointFormat, FormatName } from './format';
import { formatOf } from './formats';
import { MANIFEST_FILE, type Manifest, parseManifest, serializeManifest } from './manifest';
import { modelCard } from './model-card';
import { configText } from './model-config';
import { describeFile, writeText } from './output-file';
import type { StoredShard } from './weight-container';

/** A report with the digest of the dequantized weight (`weightSha256`): what every reader of the checkpoint has to get. */
export interface SignedReport extends LinearReport {
  readonly weightSha256: string;
  /** The same of formats that do not hold it to the last bit. */
  readonly weightSha256In?: Readonly<Partial<Record<FormatName, string>>>;
}

export interface CheckpointDescription extends Pick<ManifestInput, 'calibration' | 'versions' | 'run'> {
  readonly plan: ModelPlan;
  readonly spec: QuantizationSpec;
  readonly format: CheckpointFormat;
  readonly reports: readonly BlockReport[];
  /** Files of the source, by name. */
  readonly sourceFiles: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
  /** One per block of the plan, in its order, then one with what no block owns. */
  readonly shards: readonly StoredShard[];
  readonly signal?: AbortSignal;
}

/** Puts a checkpoint together: weights, configuration, tokenizer, and the manifest, which is returned. */
export async function assembleCheckpoint(directory: string, description: CheckpointDescription): Promise<Manifest> {
  const { plan, spec, format, reports, sourceFiles, calibration, versions, run, shards, signal } = description;
  const planned = plan.blocks.flatMap((block) => block.stages.flatMap((stage) => stage.linears));
  const linears = withoutSkipped(plan, reports);
  const layout = format.layout(planned);
  const importance = plan.importance && { ...plan.importance, file: basename(plan.importance.file) };
  const quantloom = versions.quantloom as string;
  const context = {
    ...{ sourceConfig: plan.config, linears, layout, order: spec.order, version: quantloom },
    calibration: calibration && { source: basename(spec.calibration.source), sequences: calibration.samples },
    ...(importance && { importance }),
  };

  const files = await format.container.assemble({ directory, shards, plan, context, signal });
  const config = format.config({ ...context, weightFiles: files.map(({ name }) => name) });
  files.push(await writeText(directory, 'config.json', configText(config)));
  for (const [name, text] of format.files(context)) files.push(await writeText(directory, name, text));
  for (const name of plan.companions) {
    await copyFile(join(plan.directory, name), join(directory, name));
    files.push(describeFile(name, await readFile(join(directory, name))));
  }

  const signed = reports.flatMap((report) => report.linears as readonly SignedReport[]);
  const signatures = new Map(
    signed.map(({ name, weightSha256, weightSha256In }) => [name, weightSha256In?.[format.name] ?? weightSha256]),
  );
  const inputScales = new Map(signed.map(({ name, inputScale }) => [name, inputScale]));
  const manifest = createManifest({
    quantloom,
    format: format.name,
    layout,
    source: {
      ...(plan.origin?.address !== undefined && { address: plan.origin.address }),
      architecture: plan.architecture,
      configSha256: describeFile('config.json', await readFile(join(plan.directory, 'config.json'))).sha256,
      files: Object.entries(sourceFiles).map(([name, { sha256, bytes }]) => ({ name, sha256, bytes })),
    },
    spec,
    linears: Object.fromEntries(
      linears.map(({ name, rows, columns, recipe }) => {
        const inputScale = inputScales.get(name);
        const known = { ...(inputScale !== undefined && { inputScale }), weightSha256: signatures.get(name) ?? null };
        return [name, { rows, columns, recipe, ...known }];
      }),
    ),
    calibration,
    ...(importance && { importance }),
    reports,
    bitsPerWeight: meanBitsPerWeight(format, linears),
    perplexity: null,
    versions,
    files,
    run,
  });
  await writeFile(join(directory, MANIFEST_FILE), serializeManifest(manifest));
  return manifest;
}

/** Adds to a described checkpoint what is known only at the end, and its model card. */
export async function completeManifest(
  directory: string,
  {
    perplexity,
    run,
    sourceBytes,
  }: Pick<Manifest, 'perplexity'> & Pick<ManifestInput, 'run'> & { readonly sourceBytes: number },
): Promise<void> {
  const path = join(directory, MANIFEST_FILE);
  const described = parseManifest(await readFile(path, 'utf8'));
  const manifest: Manifest = { ...described, perplexity, run: { ...described.run, ...run } };
  const weightBytes = weightFilesOf(manifest).reduce((sum, { bytes }) => sum + bytes, 0);
  const card = await writeText(
    directory,
    'README.md',
    modelCard({ manifest, sourceWeightBytes: sourceBytes, weightBytes }),
  );
  const files = [...manifest.files.filter(({ name }) => name !== card.name), card];
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  await writeFile(path, serializeManifest({ ...manifest, files }));
}

/** The files that hold the weights, in their order. */
export function weightFilesOf({ files, format }: Pick<Manifest, 'files' | 'format'>): Manifest['files'] {
  const { container } = formatOf(format);
  return files.filter(({ name }) => container.holdsWeights(name));
}

/** As planned, but for the blocks that the operator chose to keep in 16 bit. */
function withoutSkipped(plan: ModelPlan, reports: readonly BlockReport[]): LinearPlan[] {
  const skipped = new Set(reports.filter((report) => report.skipped).map(({ index }) => index));
  return plan.blocks.flatMap(({ index, stages }) =>
    stages.flatMap(({ linears }) =>
      skipped.has(index) ? linears.map((linear) => ({ ...linear, recipe: null })) : linears,
    ),
  );
}

/** Over the quantized weights, scales and zeros included; 16 when there is none. */
function meanBitsPerWeight(format: CheckpointFormat, linears: readonly LinearPlan[]): number {
  let weights = 0;
  let bits = 0;
  for (const linear of linears) {
    if (linear.recipe === null) continue;
    weights += linear.rows * linear.columns;
    bits += linear.rows * linear.columns * format.bitsPerWeight(linear);
  }
  return weights > 0 ? bits / weights : 16;
}
