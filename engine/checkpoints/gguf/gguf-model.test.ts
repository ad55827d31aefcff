import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { architectureOf } from '../../models';
import { decodeFloats } from '../../numbers';
import { openModelDirectory, packageRoot } from '../../sources';
import { readTensor } from '../safetensors';
import { BLOCK_TYPES } from './blocks/block-types';
import { encodeBlocks } from './blocks/encode-blocks';
import type { GgufValue } from './container/gguf-value';
import { readGgufHeader, readGgufTensor } from './container/read-gguf';
import official from './fixtures/demo-model.json';
import { ggufArchitectureOf } from './models/gguf-architectures';
import { planGgufTensors } from './models/plan-gguf-tensors';
import { invertRowOrder, reorderRows } from './models/rotary-row-order';
import { sourceTensorName } from './models/tensor-names';
import { writeGgufModel } from './write-gguf-model';

// The fixture is what llama.cpp's convert_hf_to_gguf.py makes of the demo model (test/oracles/gguf_model.py).
const MODEL = join(packageRoot(), 'assets', 'demo-model');

/** Keys that the converter takes from the model card's README, and makes names from; and what we always say. */
const OF_THE_CARD = ['general.name', 'general.license', 'general.tags', 'general.languages', 'general.size_label'];
const ALWAYS_SAID = ['tokenizer.ggml.add_bos_token', 'tokenizer.ggml.add_eos_token'];

let directory: string;
let path: string;
let source: Awaited<ReturnType<typeof openModelDirectory>>;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'quantloom-gguf-model-'));
  path = join(directory, 'demo-F16.gguf');
  source = await openModelDirectory(MODEL);
  await writeGgufModel({ source, path, name: 'Demo Model', fileType: 'F16', typeOf: () => 'F16' });
});
afterAll(() => rmSync(directory, { recursive: true }));

/** As test/oracles/gguf_model.py shows a value. */
function shown(value: GgufValue): unknown {
  if (value.type !== 'array') return value.value;
  const items = Array.from<unknown>(value.value.values);
  if (items.length <= 16) return items;
  const hash = createHash('sha256');
  for (const item of items) hash.update(`${item}\0`);
  return { length: items.length, sha256: hash.digest('hex') };
}

test('every key of the official converter is there with its type and value, and nothing unexpected', async () => {
  const { metadata } = await readGgufHeader(path);
  const entries = (list: [string, unknown][]) => Object.fromEntries(list.filter(([key]) => !OF_THE_CARD.includes(key)));
  const found = [...metadata].map(([key, value]): [string, unknown] => [
    key,
    { types: value.type === 'array' ? ['array', value.value.of] : [value.type], value: shown(value) },
  ]);
  const said = found.filter(([key]) => !ALWAYS_SAID.includes(key));
  expect(entries(said)).toEqual(entries(Object.entries(official.metadata)));
  for (const key of ALWAYS_SAID) expect(metadata.get(key)).toEqual({ type: 'bool', value: false });
});

test('every tensor has the name, type, shape and bytes of the official converter', async () => {
  const { tensors } = await readGgufHeader(path);
  const found: Record<string, unknown> = {};
  for (const tensor of tensors.values()) {
    const sha256 = createHash('sha256')
      .update(await readGgufTensor(path, tensor))
      .digest('hex');
    found[tensor.name] = { type: tensor.type, shape: tensor.shape, sha256 };
  }
  expect(found).toEqual(official.tensors);
});

test('read back, names and rows are those of the source', async () => {
  const { tensors } = await readGgufHeader(path);
  const model = architectureOf(source.config);
  const architecture = ggufArchitectureOf(model.name);
  const shape = model.shape(source.config);
  const names: string[] = [];
  for (const tensor of tensors.values()) {
    const name = sourceTensorName(architecture, tensor.name) ?? '';
    names.push(name);
    const original = source.tensors[name];
    if (!name.endsWith('_proj.weight') || original === undefined) continue;
    const plan = planGgufTensors({ architecture, shape, config: {}, tensors: [original], typeOf: () => 'F16' })[0];
    const bytes = await readGgufTensor(path, tensor);
    const rows = plan?.rowOrder ? reorderRows(bytes, invertRowOrder(plan.rowOrder)) : bytes;
    const values = decodeFloats(await readTensor(MODEL, original));
    const columns = original.shape[1] as number;
    const expected = encodeBlocks({ type: BLOCK_TYPES.F16, values, columns, name });
    expect({ name, same: Buffer.from(rows).equals(expected) }).toEqual({ name, same: true });
  }
  expect(names.sort()).toEqual(Object.keys(source.tensors).sort());
});
