/**
 * `node -r test/run-typescript.cjs test/support/stages-on-device.ts DEVICE MODEL...`: runs the stages of tiny models on a device, and prints how
 * far XᵀX of each stage is from transformers', one JSON object per model.
 */
import { openCheckpoint } from '../../engine/checkpoints';
import { type DeviceName, findDevice } from '../../engine/devices';
import { denseModel, readStages } from '../../engine/evaluation/dense-model';
import { addPositions, createStageRunner, embedStored, scaleEmbedding } from '../../engine/graphs';
import type { FloatTensor } from '../../engine/spec';
import { readGolden, relativeDifference, type TinyModelName, tinyModelDirectory } from '../tiny-models';

export interface StagesOnDevice {
  readonly model: string;
  /** By stage of the second layer. */
  readonly differences: Readonly<Record<string, number>>;
}

async function differencesOf(name: TinyModelName, device: DeviceName): Promise<StagesOnDevice> {
  const checkpoint = await openCheckpoint(tinyModelDirectory(name));
  const { architecture, shape, blocks } = denseModel(checkpoint);
  const golden = readGolden(name);
  const tokens = golden.integers('tokens');
  const sequenceLength = tokens.length / 2;
  const data = scaleEmbedding(embedStored(tokens, await checkpoint.stored(architecture.embedding)), shape);
  if (architecture.positions) {
    addPositions(data, await checkpoint.float(architecture.positions), { shape, sequenceLength });
  }
  const { executionProviders } = (await findDevice(device)).device;
  const runner = createStageRunner({ architecture: architecture.name, shape, threads: 1, executionProviders });
  let activations = new Map<string, FloatTensor>([['hidden', { shape: [2, sequenceLength, shape.hiddenSize], data }]]);
  const differences: Record<string, number> = {};
  for (const [index, block] of blocks.entries()) {
    for (const stage of block.stages) {
      const result = await runner.run({
        stage,
        activations,
        weights: await readStages([stage], checkpoint),
        gram: true,
      });
      activations = result.activations;
      const isKnown = (index === 1 && !stage.name.startsWith('experts')) || stage.name === 'head-input';
      if (!isKnown) continue;
      differences[stage.name] = relativeDifference(result.gram as Float32Array, golden.floats(`gram.${stage.name}`));
    }
  }
  return { model: name, differences };
}

async function main([device, ...models]: readonly string[]): Promise<void> {
  for (const model of models) {
    process.stdout.write(`${JSON.stringify(await differencesOf(model as TinyModelName, device as DeviceName))}\n`);
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
