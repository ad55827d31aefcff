import { createHash } from 'node:crypto';
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { MANIFEST_FILE, type Manifest, modelCard, parseManifest, serializeManifest } from '../engine/checkpoints';
import { type ArtifactRef, QuantloomError } from '../engine/spec';
import type { AssembledCheckpoint } from './assemble-checkpoints';
import { type JobPlan, viewModel } from './model-view';
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
 * Writes the model card and the manifest, and makes the output appear with one rename.
 *
 * @throws QuantloomError OutputExists when something stands there and the spec does not say `overwrite`.
 */
export async function publishCheckpoints(
  input: PublishInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Published> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const [first] = input.checkpoints as [AssembledCheckpoint];
  const published = {
    outputs: Object.fromEntries(input.checkpoints.map(({ format, output }) => [format, output])),
    outputBytes: first.bytes,
    bitsPerWeight: first.bitsPerWeight,
  };
  const staging = stagingDirectory(plan.spec.output, input.run.workflowId);
  // An attempt before this one got as far as the rename.
  if (!(await exists(staging)) && (await exists(join(first.output, MANIFEST_FILE)))) return published;
  for (const checkpoint of input.checkpoints) await complete(checkpoint, input, plan);
  await replace(staging, resolve(plan.spec.output), plan.spec.overwrite);
  return published;
}

async function complete({ directory, bytes }: AssembledCheckpoint, input: PublishInput, plan: JobPlan): Promise<void> {
  const path = join(directory, MANIFEST_FILE);
  const assembled = parseManifest(await readFile(path, 'utf8'));
  const { evaluation } = plan.spec;
  const { workflowId: job, startedAt, seconds, computed, cached } = input.run;
  const manifest: Manifest = {
    ...assembled,
    perplexity: input.perplexity && evaluation && { ...input.perplexity, context: evaluation.context },
    run: { ...assembled.run, job, started: new Date(startedAt).toISOString(), seconds, computed, cached },
  };
  const card = modelCard({ manifest, sourceWeightBytes: plan.sourceBytes, weightBytes: bytes });
  await writeFile(join(directory, 'README.md'), card);
  const entry = {
    name: 'README.md',
    bytes: Buffer.byteLength(card),
    sha256: createHash('sha256').update(card).digest('hex'),
  };
  const files = [...manifest.files.filter(({ name }) => name !== entry.name), entry];
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  await writeFile(path, serializeManifest({ ...manifest, files }));
  await synchronize(directory);
}

/** Renames a complete directory to its place; what stood there is removed only after that. */
async function replace(staging: string, output: string, overwrite: boolean): Promise<void> {
  if (await exists(output)) {
    if (!overwrite) {
      throw new QuantloomError(
        'OutputExists',
        `${output} exists. Take another output, or allow it to be replaced (overwrite).`,
      );
    }
    const old = `${staging}.old`;
    await rm(old, { recursive: true, force: true });
    await rename(output, old);
    await rename(staging, output);
    await rm(old, { recursive: true, force: true });
  } else {
    await rename(staging, output).catch((cause: unknown) => {
      throw new QuantloomError('OutputUnwritable', `${output} cannot be written: ${String(cause)}`, { cause });
    });
  }
  await synchronize(dirname(output));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Makes the entries of a directory survive a power loss. */
async function synchronize(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  await handle.sync().finally(() => handle.close());
}
