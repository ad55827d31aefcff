import { resolve } from 'node:path';
import {
  collectImportance,
  type InputImportance,
  importanceHead,
  publishImportance,
  readDiagonal,
} from '../engine/checkpoints';
import { calibratingStage, inputsByLinear } from '../engine/models';
import { bytesOf, float32View } from '../engine/numbers';
import { matricesOfStack, needsHessian } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import { stageOf, viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { floatsOf, isStack } from './stacked-hessians';
import { stagingDirectory } from './staging-directory';
import { type Bench, defineStep, type Effort, perform, readingBench, together } from './step';

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

/** Writes the importance matrix of all layers to the output. @param input.parts by block. */
export async function publishImportanceMatrix(
  input: { plan: ArtifactRef; parts: readonly ImportanceParts[]; job: string },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<{ outputs: Record<string, string>; outputBytes: number }> {
  const { plan, blocks } = await viewModel(input.plan, runtime, attempt);
  const { output, overwrite, calibration } = plan.spec;
  const bench = readingBench(runtime, attempt);
  const found: InputImportance[] = [];
  for (const { index, stages } of plan.blocks) {
    for (const { stage, linears } of stages) {
      const part = input.parts[index]?.[stage];
      if (!part) continue;
      const inputs = inputsByLinear(calibratingStage(stageOf(blocks, { block: index, stage }), calibration));
      const wanted = linears.filter(needsHessian);
      for (const [input, row] of (await inputsOf(part, bench)).entries()) {
        const own = wanted.filter(({ name }) => (inputs?.get(name) ?? 0) === input);
        found.push({ linears: own.map(({ name }) => name), ...row });
      }
    }
  }
  const path = resolve(output);
  const staging = stagingDirectory(output, input.job);
  const { bytes } = await publishImportance(
    path,
    { ...importanceHead(calibration), entries: collectImportance(found) },
    { staging, overwrite },
  );
  return { outputs: { imatrix: path }, outputBytes: bytes };
}

async function inputsOf(part: ArtifactRef, bench: Pick<Bench, 'read'>): Promise<Omit<InputImportance, 'linears'>[]> {
  const floats = float32View(await bench.read(part));
  const inputs: Omit<InputImportance, 'linears'>[] = [];
  for (let at = 0; at < floats.length; ) {
    const [columns, tokens] = floats.subarray(at, at + 2) as unknown as [number, number];
    inputs.push({ means: floats.slice(at + 2, at + 2 + columns), tokens });
    at += 2 + columns;
  }
  return inputs;
}
