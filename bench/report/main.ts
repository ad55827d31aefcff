/** Writes the measured tables and charts of README.md, docs/performance.md and docs/scale.md anew from bench/results/*.json: `npm run bench:report`. */
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
  type ScaleResults,
  type ScalingResults,
  type StoreResults,
} from './result-files';
import { briefComparison, compareSection } from './sections/compare-section';
import { forwardSection } from './sections/forward-section';
import { kernelsSection } from './sections/kernels-section';
import { methodsSection } from './sections/methods-section';
import { onPaperSection, scaleSection } from './sections/scale-section';
import { scalingSection } from './sections/scaling-section';
import type { Section } from './sections/section';
import { storeSection } from './sections/store-section';

const RESULTS = join(packageRoot(), 'bench', 'results');
const IMAGES = join(packageRoot(), 'docs', 'images');

const compared = readResults<CompareResults>(RESULTS, 'compare');
/** By document. */
const sections: Readonly<Record<string, Readonly<Record<string, Section>>>> = {
  'README.md': {
    'compare-brief': briefComparison(compared),
    methods: methodsSection(readResults<MethodResults>(RESULTS, 'methods')),
  },
  'docs/performance.md': {
    compare: compareSection(compared),
    scaling: scalingSection(readResults<ScalingResults>(RESULTS, 'scaling')),
    kernels: kernelsSection(readResults<KernelResults>(RESULTS, 'kernels')),
    forward: forwardSection(readResults<ForwardResults>(RESULTS, 'forward')),
    store: storeSection(readResults<StoreResults>(RESULTS, 'store')),
  },
  'docs/scale.md': {
    scale: scaleSection(readResults<ScaleResults>(RESULTS, 'scale-')),
    'on-paper': onPaperSection(),
  },
};
const documents = Object.entries(sections).map(([name, parts]) => {
  const texts = Object.entries(parts).map(([part, { text }]) => [part, text || 'Not measured yet.']);
  const path = join(packageRoot(), name);
  return { path, text: replaceSections(readFileSync(path, 'utf8'), Object.fromEntries(texts)) };
});
mkdirSync(IMAGES, { recursive: true });
for (const file of readdirSync(IMAGES)) {
  if (/^(compare|scaling|kernels)-.*\.svg$/.test(file)) rmSync(join(IMAGES, file));
}
for (const { charts } of Object.values(sections).flatMap((parts) => Object.values(parts))) {
  for (const [name, svg] of Object.entries(charts)) writeFileSync(join(IMAGES, `${name}.svg`), svg);
}
for (const { path, text } of documents) writeFileSync(path, text);
