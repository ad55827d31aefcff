import type { ActivationRefs } from '../activities';
import type { StagePlace } from './layer-hands';
import { originalStream } from './original-stream';

const BLOCK = {
  index: 3,
  name: 'model.layers.3',
  stages: ['attention-input', 'attention', 'mlp-input', 'mlp'].map((name) => ({ name, linears: 1, calibrated: true })),
};

const left = (what: string): readonly ActivationRefs[] => [{ hidden: { kind: 'activation', sha256: what, bytes: 4 } }];

/** Leaves behind the names of all stages that it went through. */
const hands = {
  runOriginal: async ({ block, stage }: StagePlace, slices: readonly ActivationRefs[]) =>
    left(`${slices[0]?.hidden?.sha256} ${block}/${stage}`) as ActivationRefs[],
};

test('goes from behind the first stage through the layer and the next stage', async () => {
  const next = { block: 4, stage: 'attention-input' };
  const stream = originalStream(hands, BLOCK, { activations: left('start'), next });
  expect(await stream.behind({ block: 3, stage: 'mlp-input' })).toEqual(left('start 3/attention 3/mlp-input'));
  const whole = left('start 3/attention 3/mlp-input 3/mlp 4/attention-input');
  expect(await stream.behind(next)).toEqual(whole);
  expect(await stream.last).toEqual(whole);
});

test('a stage that fails fails what comes after it, for those who wait', async () => {
  const failing = {
    runOriginal: async (place: StagePlace, slices: readonly ActivationRefs[]) => {
      if (place.stage === 'mlp') throw new Error('no room');
      return hands.runOriginal(place, slices);
    },
  };
  const stream = originalStream(failing, BLOCK, { activations: left('start'), next: null });
  expect(await stream.behind({ block: 3, stage: 'mlp-input' })).toEqual(left('start 3/attention 3/mlp-input'));
  await expect(stream.last).rejects.toThrow('no room');
});
