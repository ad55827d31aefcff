import { descendOnGrid } from './descend-on-grid';
import { findScales } from './find-scale';
import { gptqColumns } from './gptq-columns';
import { gptqOnGrid } from './gptq-on-grid';
import { inverseFactor } from './inverse-factor';
import type { Kernels } from './kernels';
import { learnRounding } from './learn-rounding';
import { outputEnergy } from './output-energy';
import { refine } from './refine';
import { roundToNearest } from './round-to-nearest';

/** The kernels in plain TypeScript, in float64: the reference. */
export const referenceKernels: Kernels = {
  name: 'typescript',
  inverseFactor,
  findScales,
  roundToNearest,
  gptqColumns,
  learnRounding,
  refine,
  gptqOnGrid,
  descendOnGrid,
  outputEnergy,
};
