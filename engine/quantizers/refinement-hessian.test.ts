import { RecipeSchema } from '../spec';
import { refinementHessian } from './refinement-hessian';

const solvable = {
  hessian: Float64Array.of(1, 0.5, 0, 0.5, 3, 0, 0, 0, 1),
  ...{ outerOrder: Int32Array.of(0, 1, 2), solveOrder: Int32Array.of(1, 0, 2), factor: null },
  dead: Uint8Array.of(0, 0, 1),
};
const shared = (fields: object) => ({
  recipe: RecipeSchema.parse(fields),
  ...({ columns: 3, groupSize: 3, minimumZero: 0, roundToNearest: false, solvable } as const),
});

test('the share is of the mean over columns that are not dead, and the given Hessian stays', () => {
  const { hessian, added } = refinementHessian(shared({ refinementDamping: 0.25 }), solvable);
  expect(added).toBe(0.5);
  expect([...hessian]).toEqual([1.5, 0.5, 0, 0.5, 3.5, 0, 0, 0, 1.5]);
  expect([...solvable.hessian]).toEqual([1, 0.5, 0, 0.5, 3, 0, 0, 0, 1]);
});

test('without damping it is the Hessian itself', () => {
  expect(refinementHessian(shared({}), solvable)).toEqual({ hessian: solvable.hessian, added: 0 });
});
