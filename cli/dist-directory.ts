import { dirname, join } from 'node:path';

const here = __dirname;

/** Directory of the compiled program; child processes run from it also when this file runs from its source, in tests. */
export const DIST_DIRECTORY = here.endsWith(join('dist', 'cli')) ? dirname(here) : join(dirname(here), 'dist');
