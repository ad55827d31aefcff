import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { transposedWeights } from '../engine/models';
import { fingerprintFile, obtainModel } from '../engine/sources';
import { type ArtifactRef, QuantloomError, type SourceTensor, type TensorTable } from '../engine/spec';
import { computationKey } from './identity';
import type { JobPlan } from './model-view';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform, together } from './step';

export interface FetchedModel extends Effort {
  /** Document: TensorTable, the identity of every tensor. */
  readonly table: ArtifactRef;
  /** Document: SHA-256 and size of every weight file. */
  readonly files: ArtifactRef;
  /** The model as a whole. */
  readonly source: ArtifactRef;
}

/** One weight file, recognized by path, size and time as `make` and `rsync` do; every later read checks the content itself. */
interface FileInput {
  readonly directory: string;
  readonly file: string;
  readonly bytes: number;
  readonly modified: string;
  readonly tensors: readonly SourceTensor[];
}

const fingerprint = defineStep({
  name: 'fetch-model',
  version: 1,
  run: async ({ directory, file, tensors }: FileInput, { attempt }) => {
    const onProgress = ({ bytes }: { bytes: number }) => attempt.progress({ file, bytes });
    return fingerprintFile(directory, file, tensors, { signal: attempt.signal, onProgress });
  },
});

interface TableInput {
  readonly directory: string;
  readonly table: TensorTable;
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
}

const keepTable = defineStep({
  name: 'tensor-table',
  version: 1,
  // The directory is part of the key: the table says where the tensors lie, and a copy of the model lies elsewhere.
  run: async ({ table, files }: TableInput, bench) => ({
    table: await bench.writeDocument(table),
    files: await bench.writeDocument(files),
  }),
});

/**
 * Makes the model's weights available to every worker and gives each tensor its identity. A model from elsewhere is fetched first,
 * resumably, and a quantized one dequantized. A local directory is read where it lies: hashed, and scanned for NaN and Inf.
 *
 * @throws QuantloomError NonFiniteWeights naming the tensor.
 */
export async function fetchModel(
  input: { plan: ArtifactRef },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<FetchedModel> {
  const { plan, blocks } = await viewModel(input.plan, runtime, attempt);
  const { directory } = plan;
  await obtain(plan, runtime, attempt);
  const byFile = new Map<string, SourceTensor[]>();
  const tensorsOfFiles = Object.values(plan.tensors).filter(({ copyOf }) => copyOf === undefined);
  for (const tensor of tensorsOfFiles) byFile.set(tensor.file, [...(byFile.get(tensor.file) ?? []), tensor]);
  const table: Record<string, ArtifactRef> = {};
  const files: Record<string, { sha256: string; bytes: number }> = {};
  const efforts: Effort[] = [];
  for (const [file, tensors] of [...byFile].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const path = join(directory, file);
    const { size, mtimeNs } = await stat(path, { bigint: true });
    const result = await perform(
      fingerprint,
      { directory, file, bytes: Number(size), modified: String(mtimeNs), tensors },
      runtime,
      attempt,
    );
    Object.assign(table, result.tensors);
    files[file] = { sha256: result.sha256, bytes: Number(size) };
    efforts.push(result);
  }
  for (const { name, copyOf } of Object.values(plan.tensors)) {
    if (copyOf !== undefined) table[name] = table[copyOf] as ArtifactRef;
  }
  for (const name of transposedWeights(blocks)) {
    const stored = table[name];
    if (stored) table[name] = { ...stored, shape: stored.shape?.toReversed(), transposed: true };
  }
  const source: ArtifactRef = {
    kind: 'checkpoint',
    sha256: computationKey('source-model', 1, { config: plan.config, table }),
    bytes: plan.sourceBytes,
    at: { file: directory, offset: 0 },
  };
  const kept = await perform(keepTable, { directory, table, files }, runtime, attempt);
  return { ...kept, source, ...together(efforts) };
}

/** A model from elsewhere, or one that has to be dequantized, becomes a directory; nothing to do once it is there. */
async function obtain(
  { directory, origin }: JobPlan,
  { sources, log }: ActivityRuntime,
  { signal, progress }: Attempt,
): Promise<void> {
  if (!origin) return;
  if (!sources) throw new QuantloomError('WrongUse', `This worker has no directory of models for ${directory}.`);
  const begun = performance.now();
  await obtainModel({ directory, origin }, sources, { signal, onProgress: progress });
  log('obtained', { ...origin, directory, seconds: (performance.now() - begun) / 1000 });
}
