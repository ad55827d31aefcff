import { readDiagonal } from '../engine/checkpoints';
import { bytesOf } from '../engine/numbers';
import { matricesOfStack } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { floatsOf, isStack } from './stacked-hessians';
import { defineStep, type Effort, perform, together } from './step';

/** By stage: F32, of every input one after the other its columns, its tokens, and the mean squares of its features. */
export type ImportanceParts = Readonly<Record<string, ArtifactRef>>;

interface ExtractInput {
  readonly hessian: ArtifactRef;
  /** Where it is not a stack, which has them. */
  readonly tokens: number;
}

const extractStep = defineStep({
  name: 'extract-importance',
  version: 1,
  run: async ({ hessian, tokens }: ExtractInput, bench) => {
    const rows: Float32Array[] = [];
    const keep = (means: Float32Array, count: number) => rows.push(Float32Array.of(means.length, count), means);
    const reader = await bench.withArtifacts([hessian], () => bench.runtime.store.open(hessian.sha256));
    try {
      const read = floatsOf(reader);
      if (isStack(hessian)) {
        for await (const { matrix, columns, tokens } of matricesOfStack(read)) {
          keep(
            Float32Array.from({ length: columns }, (_, i) => matrix[i * columns + i] as number),
            tokens,
          );
        }
      } else {
        keep(await readDiagonal(hessian.shape?.[0] as number, read), tokens);
      }
      await reader.finish();
    } finally {
      await reader.close();
    }
    const all = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const row of rows) {
      all.set(row, at);
      at += row.length;
    }
    return { part: await bench.write('importance', bytesOf(all), { dtype: 'F32', shape: [all.length] }) };
  },
});

/** The diagonals of a layer's Hessians. */
export async function extractImportance(
  input: { plan: ArtifactRef; hessians: Readonly<Record<string, ArtifactRef | null>> },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Effort & { parts: ImportanceParts }> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const sequences = plan.slices.reduce((sum, slice) => sum + slice.sequences, 0);
  const tokens = sequences * plan.spec.calibration.sequenceLength;
  const parts: Record<string, ArtifactRef> = {};
  const efforts: Effort[] = [];
  for (const [stage, hessian] of Object.entries(input.hessians)) {
    if (!hessian) continue;
    const { part, ...effort } = await perform(extractStep, { hessian, tokens }, runtime, attempt);
    parts[stage] = part;
    efforts.push(effort);
  }
  return { parts, ...together(efforts) };
}
