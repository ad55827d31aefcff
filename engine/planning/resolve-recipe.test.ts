import { type Override, parseQuantizationSpec, QuantloomError } from '../spec';
import { closestNames } from './closest-names';
import { resolveRecipe, unmatchedOverrides } from './resolve-recipe';

const DOWN = 'model.layers.0.mlp.down_proj';
const specWith = (...overrides: Override[]) => parseQuantizationSpec({ model: 'm', output: 'o', overrides });

describe('resolveRecipe', () => {
  test('without overrides it is the recipe of the spec', () => {
    expect(resolveRecipe(specWith(), DOWN)).toEqual({
      method: 'gptq',
      bits: 4,
      groupSize: 128,
      symmetric: true,
      actOrder: 'static',
      damping: 0.01,
      scales: 'search',
      importance: 'diagonal',
      zeros: 'range',
      refinements: 3,
      restarts: 0,
      groupRounds: 0,
      mismatch: 0.5,
    });
  });

  test('with one scale for the weight it has no groups, unless an override gives them', () => {
    const overrides = [{ match: '*.down_proj', groupSize: 64 as const }];
    const spec = parseQuantizationSpec({
      model: 'm',
      output: 'o',
      recipe: { perTensor: true, restarts: 3 },
      overrides,
    });
    expect(spec.recipe).toMatchObject({ perTensor: true, groupSize: -1, restarts: 0 });
    expect(resolveRecipe(spec, 'model.layers.0.mlp.up_proj')).toMatchObject({ perTensor: true, groupSize: -1 });
    expect(resolveRecipe(spec, DOWN)).toMatchObject({ groupSize: 64 });
    expect(resolveRecipe(spec, DOWN)).not.toHaveProperty('perTensor');
  });

  test.each([
    [DOWN, true],
    ['model.layers.0.mlp.down', false],
    ['down_proj', false],
    ['*down_proj', true],
    ['*.down_proj', true],
    ['model.layers.*.mlp.*', true],
    ['model.layers.1.*', false],
    ['model?layers.0.mlp.down_proj', false],
    ['modelXlayers.0.mlp.down_proj', false],
    ['re:down_proj', true],
    ['re:^down_proj', false],
    ['re:layers\\.(0|1)\\..*_proj$', true],
    ['re:layers\\.[1-9]', false],
  ])('%j matches a module: %s', (match, expected) => {
    expect(resolveRecipe(specWith({ match, bits: 8 }), DOWN)?.bits).toBe(expected ? 8 : 4);
  });

  test('of several overrides the last that gives a field wins, field by field', () => {
    const spec = specWith(
      { match: '*', bits: 3, groupSize: 32 },
      { match: '*down_proj', bits: 8 },
      { match: '*up_proj', bits: 2 },
      { match: 're:mlp', symmetric: false },
    );
    expect(resolveRecipe(spec, DOWN)).toMatchObject({ bits: 8, groupSize: 32, symmetric: false, method: 'gptq' });
  });

  test('skip keeps a module in 16 bit until a later override takes it back', () => {
    expect(resolveRecipe(specWith({ match: '*', skip: true }), DOWN)).toBeNull();
    expect(resolveRecipe(specWith({ match: '*', skip: true }, { match: '*', bits: 8 }), DOWN)).toBeNull();
    const back = specWith({ match: '*', skip: true }, { match: '*down_proj', skip: false, bits: 8 });
    expect(resolveRecipe(back, DOWN)).toEqual({ ...resolveRecipe(specWith(), DOWN), bits: 8 });
    expect(resolveRecipe(back, 'model.layers.0.mlp.up_proj')).toBeNull();
  });

  test('a bad regular expression names its override', () => {
    const resolve = () => resolveRecipe(specWith({ match: '*' }, { match: 're:layers.(0' }), DOWN);
    expect(resolve).toThrow(QuantloomError);
    expect(resolve).toThrow(
      expect.objectContaining({
        code: 'InvalidSpecification',
        message: expect.stringContaining('overrides.1.match is "re:layers.(0"'),
      }),
    );
  });
});

describe('unmatchedOverrides', () => {
  test('are those that match no module', () => {
    const spec = specWith({ match: '*down_proj' }, { match: '*down_porj' }, { match: 're:mlp.gate' });
    expect(unmatchedOverrides(spec, [DOWN, 'model.norm']).map(({ match }) => match)).toEqual([
      '*down_porj',
      're:mlp.gate',
    ]);
  });
});

describe('closestNames', () => {
  test('puts the names that take the fewest edits first', () => {
    const names = ['model.layers.0.mlp.up_proj', DOWN, 'lm_head', 'model.layers.10.mlp.down_proj'];
    expect(closestNames('model.layers.0.mlp.down_porj', names)).toEqual([DOWN, names[3], names[0]]);
  });
});
