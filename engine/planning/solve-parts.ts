import type { LinearPlan } from '../spec';
import { total } from './work-to-do';

/** rows · columns² that a part of a stage's solve should have at least: most of a second of a core. Below, handing it over costs more than it saves. */
const LEAST_WORK_OF_A_PART = 2 ** 31;

/** What of a plan decides it. */
interface StagesToSolve {
  readonly blocks: readonly {
    readonly stages: readonly { readonly linears: readonly Pick<LinearPlan, 'rows' | 'columns' | 'recipe'>[] }[];
  }[];
}

/** Into how many parts the solve of a stage is worth sharing among so many workers, for stages of average size. */
export function solvePartsFor({ blocks }: StagesToSolve, workers: number): number {
  const stages = blocks.flatMap(({ stages }) =>
    stages.map(({ linears }) => linears.filter(({ recipe }) => recipe !== null)),
  );
  const solved = stages.filter((linears) => linears.length > 0);
  const work = total(solved.flat().map(({ rows, columns }) => rows * columns ** 2)) / Math.max(1, solved.length);
  return Math.max(1, Math.min(workers, Math.floor(work / LEAST_WORK_OF_A_PART)));
}
