import type { LinearPlan, Recipe } from '../spec';
import { solvePartsFor } from './solve-parts';

const recipe = { method: 'gptq' } as Recipe;

/** Two blocks of one stage each. */
function planOf(...linears: Pick<LinearPlan, 'rows' | 'columns' | 'recipe'>[]) {
  const stage = { linears };
  return {
    blocks: [{ stages: [stage, { linears: [] }] }, { stages: [stage] }],
  };
}

describe('parts that a solve is shared in', () => {
  it('are as many as there are workers where linears are large', () => {
    expect(solvePartsFor(planOf({ rows: 4096, columns: 11_008, recipe }), 8)).toBe(8);
  });

  it('are no more than have the work of most of a second each', () => {
    expect(solvePartsFor(planOf({ rows: 2048, columns: 2048, recipe }), 8)).toBe(4);
  });

  it('are one where linears are small, where nothing is quantized, and for one worker', () => {
    expect(solvePartsFor(planOf({ rows: 576, columns: 1536, recipe }), 8)).toBe(1);
    expect(solvePartsFor(planOf({ rows: 4096, columns: 4096, recipe: null }), 8)).toBe(1);
    expect(solvePartsFor(planOf({ rows: 4096, columns: 4096, recipe }), 1)).toBe(1);
  });
});
