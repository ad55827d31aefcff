/** Writes the tables and charts of docs/performance.md anew from bench/results/*.json: `npm run bench:report`. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../engine/sources';
import { replaceSections } from './replace-sections';
import {
  type CompareResults,
  type ForwardResults,
  type KernelResults,
  type MethodResults,
  readResults,
  type ScalingResults,
} from './result-files';
import { compareSection } from './sections/compare-section';
import { forwardSection } from './sections/forward-section';
import { kernelsSection } from './sections/kernels-section';
import { methodsSection } from './sections/methods-section';
import { scalingSection } from './sections/scaling-section';
import type { Section } from './sections/section';

const RESULTS = join(packageRoot(), 'bench', 'results');
const DOCUMENT = join(packageRoot(), 'docs', 'performance.md');
const IMAGES = join(packageRoot(), 'docs', 'images');

const sections: Record<string, Section> = {
  compare: compareSection(readResults<CompareResults>(RESULTS, 'compare')),
  scaling: scalingSection(readResults<ScalingResults>(RESULTS, 'scaling')),
  kernels: kernelsSection(readResults<KernelResults>(RESULTS, 'kernels')),
  methods: methodsSection(readResults<MethodResults>(RESULTS, 'methods')),
  forward: forwardSection(readResults<ForwardResults>(RESULTS, 'forward')),
};
const texts = Object.entries(sections).map(([name, { text }]) => [name, text || 'Not measured yet.']);
const document = replaceSections(readFileSync(DOCUMENT, 'utf8'), Object.fromEntries(texts));
mkdirSync(IMAGES, { recursive: true });
for (const file of readdirSync(IMAGES)) {
  if (/^(compare|scaling|kernels)-.*\.svg$/.test(file)) rmSync(join(IMAGES, file));
}
for (const { charts } of Object.values(sections)) {
  for (const [name, svg] of Object.entries(charts)) writeFileSync(join(IMAGES, `${name}.svg`), svg);
}
writeFileSync(DOCUMENT, document);
