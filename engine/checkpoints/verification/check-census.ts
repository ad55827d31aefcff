import { architectureOf } from '../../models';
import { QuantloomError } from '../../spec';
import { type ExpectedTensor, type LinearSettings, quantizedModules, settingsFor } from '../linear-storage';
import type { Manifest } from '../manifest';
import type { StoredLinears } from '../weight-container';
import { CheckRecord } from './check';
import type { StoredTensors } from './stored-tensors';

const DENSE_DTYPES = ['F16', 'BF16', 'F32'];

/**
 * Every tensor that config.json implies is there, with its shape and dtype, quantized or dense as the config says; and no others.
 * What is expected comes from the architecture, not from the files.
 */
export function checkCensus(
  config: Readonly<Record<string, unknown>>,
  linears: StoredLinears | null,
  places: StoredTensors['tensors'],
  manifest: Manifest | null,
): CheckRecord {
  const check = new CheckRecord('tensors are those that config.json implies', 'tensor');
  const expected = expectedTensors(config, linears, places, check);
  if (!expected) return check;
  for (const [name, { shape, dtypes, optional }] of expected) {
    const found = places.get(name);
    if (optional && !found) continue;
    check.expect(found !== undefined, () => `${name}: missing`);
    if (!found) continue;
    if (found.shape.length !== shape.length || shape.some((size, axis) => size !== null && size !== found.shape[axis]))
      check.find(
        `${name}: shape [${found.shape.join(', ')}], expected [${shape.map((size) => size ?? 'any').join(', ')}]`,
      );
    if (!dtypes.includes(found.dtype)) check.find(`${name}: dtype ${found.dtype}, expected ${dtypes.join(' or ')}`);
  }
  const extras = [...places.keys()].filter((name) => !expected.has(name));
  if (manifest) for (const name of extras) check.find(`${name}: config.json implies no such tensor`);
  else if (extras.length > 0)
    check.note(`${extras.length} tensors that config.json does not imply, e.g. ${extras[0]}.`);
  if (manifest) checkLinearsOfManifest(manifest, linears, check);
  return check;
}

function expectedTensors(
  config: Readonly<Record<string, unknown>>,
  linears: StoredLinears | null,
  places: StoredTensors['tensors'],
  check: CheckRecord,
): Map<string, ExpectedTensor> | null {
  const expected = new Map<string, ExpectedTensor>();
  const dense = (name: string, shape: readonly number[]) => expected.set(name, { shape, dtypes: DENSE_DTYPES });
  try {
    const architecture = architectureOf(config, (name) => places.has(name));
    const shape = architecture.shape(config);
    const blocks = architecture.blocks(shape, (name) => places.has(name));
    for (const [name, size] of architecture.outside(shape)) dense(name, size);
    for (const block of blocks) for (const [name, size] of block.tensors) dense(name, size);
    // Some producers store a tied head all the same.
    if (shape.tiedHead && places.has(architecture.head))
      dense(architecture.head, [shape.vocabularySize, shape.hiddenSize]);
    const modules: { name: string; rows: number; columns: number }[] = blocks.flatMap(({ stages }) =>
      stages.flatMap(({ captures }) => captures),
    );
    // Some producers quantize the embedding too.
    const embedding = architecture.embedding.replace(/\.weight$/, '');
    if (linears && quantizedModules(linears.storage, places.keys()).includes(embedding)) {
      modules.push({ name: embedding, rows: shape.vocabularySize, columns: shape.hiddenSize });
    }
    for (const { name: module, rows, columns } of modules) {
      const settings = linears && expected.has(`${module}.weight`) ? linears.settingsOf(module) : null;
      // Floats are expected as in the source.
      if (!linears || linears.storage.floats || !settings) continue;
      expected.delete(`${module}.weight`);
      for (const [part, tensor] of Object.entries(linears.storage.tensors(settings, [rows, columns])))
        expected.set(`${module}.${part}`, tensor);
    }
    return expected;
  } catch (error) {
    if (!QuantloomError.is(error)) throw error;
    if (error.code === 'UnsupportedArchitecture')
      check.note(`Which tensors there should be is not known: ${error.message}`);
    else check.find(error.message);
    return null;
  }
}

/** What configuration and manifest have to agree on. */
function comparable({ bits, groupSize, symmetric, floatType, perTensor, activations }: Omit<LinearSettings, 'layout'>) {
  return { bits, groupSize, symmetric, floatType, perTensor, activations };
}

/** The config against the layout and the recipes that the manifest records. */
function checkLinearsOfManifest(manifest: Manifest, linears: StoredLinears | null, check: CheckRecord): void {
  if (linears) {
    const { layout } = manifest;
    check.expect(linears.layout === layout, () => `config.json says layout ${linears.layout}, the manifest ${layout}`);
  }
  for (const [name, { recipe }] of Object.entries(manifest.linears)) {
    const settings = linears?.settingsOf(name) ?? null;
    const written = recipe && linears ? settingsFor(linears.storage, recipe, manifest.layout) : null;
    const meant = written ? comparable(written) : recipe && comparable({ ...recipe, activations: undefined });
    // A config that does not say it cannot contradict.
    const stored = settings && { ...comparable(settings), groupSize: settings.groupSize || meant?.groupSize };
    check.expect(
      JSON.stringify(stored) === JSON.stringify(meant),
      () => `${name}: config.json says ${JSON.stringify(stored)}, the manifest ${JSON.stringify(meant)}`,
    );
  }
}
