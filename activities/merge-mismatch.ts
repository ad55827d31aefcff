import { bytesOf, float32View } from '../engine/numbers';
import { mergeMismatches } from '../engine/quantizers';
import type { ArtifactRef } from '../engine/spec';
import type { MismatchOfSlice } from './calibrate-slice';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, perform } from './step';

/** What calibrateSlice summed, in slice order. */
export interface MismatchInput {
  readonly parts: readonly MismatchOfSlice[];
}

const mergeStep = defineStep({
  name: 'merge-mismatch',
  version: 1,
  run: async ({ parts }: MismatchInput, bench) => {
    async function* sums() {
      for (const { sum, tokens } of parts) yield { sum: float32View(await bench.read(sum)), tokens };
    }
    const content = bytesOf(await mergeMismatches(sums()));
    return { mean: await bench.write('mismatch', content, { dtype: 'F32', shape: parts[0]?.sum.shape }) };
  },
});

/** Mean of e xᵀ (MismatchSum), F32 `[2, rows, columns]`: found or computed. */
export async function mergeMismatch(
  { parts }: MismatchInput,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<ArtifactRef> {
  return (await perform(mergeStep, { parts }, runtime, attempt)).mean;
}
