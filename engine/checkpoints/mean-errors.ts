import type { LinearReport, MeanErrors } from '../spec';

/** Means over the linears that have an error; null when none has one. */
export function meanErrors(
  reports: readonly Pick<LinearReport, 'relativeError' | 'relativeErrorBeforeRefinement'>[],
): MeanErrors {
  return {
    relativeError: mean(reports.map(({ relativeError }) => relativeError)),
    relativeErrorBeforeRefinement: mean(reports.map((report) => report.relativeErrorBeforeRefinement)),
  };
}

function mean(errors: readonly (number | null)[]): number | null {
  const known = errors.filter((error) => error !== null);
  return known.length > 0 ? known.reduce((sum, error) => sum + error, 0) / known.length : null;
}
