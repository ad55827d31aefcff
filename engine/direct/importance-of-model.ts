import {
  collectImportance,
  type ImportanceFile,
  type InputImportance,
  importanceHead,
  readDiagonal,
} from '../checkpoints';
import { calibratingStage, inputsByLinear } from '../models';
import type { Block, Stage } from '../models/architecture';
import { needsHessian } from '../quantizers';
import type { ModelPlan, QuantizationSpec } from '../spec';
import type { Activations, DirectModel } from './direct-model';
import { runSlices } from './quantize-block';

/** The importance matrix of the original model: the pass that the workflow's `collectImportance` makes. */
export async function importanceOfModel(
  model: DirectModel,
  { blocks }: Pick<ModelPlan, 'blocks'>,
  { calibration }: Pick<QuantizationSpec, 'calibration'>,
  embedded: readonly Activations[],
): Promise<ImportanceFile> {
  const found: InputImportance[] = [];
  let activations = embedded;
  for (const { index, stages } of blocks) {
    const block = model.blocks[index] as Block;
    for (const [position, { linears }] of stages.entries()) {
      const stage = calibratingStage(block.stages[position] as Stage, calibration);
      const wanted = linears.filter(needsHessian);
      const captured = await runSlices(model, stage, activations, { quantized: new Map(), gram: wanted.length > 0 });
      activations = captured.activations;
      const inputs = inputsByLinear(stage);
      for (const [input, { values, tokens = captured.tokens }] of captured.hessians.entries()) {
        const own = wanted.filter(({ name }) => (inputs?.get(name) ?? 0) === input);
        let at = 0;
        const read = async (floats: number) => {
          at += floats;
          return values.subarray(at - floats, at);
        };
        const means = await readDiagonal(Math.sqrt(values.length), read);
        found.push({ linears: own.map(({ name }) => name), means, tokens });
      }
    }
  }
  return { ...importanceHead(calibration), entries: collectImportance(found) };
}
