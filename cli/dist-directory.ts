import { join } from 'node:path';
import { packageRoot } from '../engine/sources';

/** Directory of the compiled program; child processes run from it also when this file runs from its source, in tests. */
export const DIST_DIRECTORY = join(packageRoot(), 'dist');
