import { resolve } from 'node:path';
import { collectImportance, type InputImportance, importanceHead, publishImportance } from '../engine/checkpoints';
import { calibratingStage, inputsByLinear } from '../engine/models';
import { float32View } from '../engine/numbers';
import { needsHessian } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import type { ImportanceParts } from './extract-importance';
import { stageOf, viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { stagingDirectory } from './staging-directory';
import { type Bench, readingBench } from './step';

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
