import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TinyCheckpoint, writeTinyCheckpoint } from '../../test/support/tiny-checkpoint';
import { RecipeSchema } from '../spec';
import { MANIFEST_FILE } from './manifest';
import { RawSafetensors } from './verification/raw-safetensors';
import { requireVerified, type VerificationResult, verifyCheckpoint } from './verify-checkpoint';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-verify-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const MODULE = 'model.layers.1.mlp.down_proj';
const SHARD = 'model-00002-of-00003.safetensors';

/** What the tests change of config.json, the index and the manifest. */
interface Config {
  num_hidden_layers: number;
  quantization_config: { bits: number; checkpoint_format: string };
  weight_map: Record<string, string>;
  linears: Record<string, { recipe: { bits: number } }>;
}

/** Overwrites bytes of a tensor in place. */
async function damage(tensor: string, change: (bytes: Buffer) => void): Promise<void> {
  const path = join(directory, SHARD);
  const raw = await RawSafetensors.open(path);
  const { begin, end } = raw.tensors.get(tensor) as { begin: number; end: number };
  await raw.close();
  const file = await readFile(path);
  change(file.subarray(begin, end));
  await writeFile(path, file);
}

async function edit(file: string, change: (json: Config) => void): Promise<void> {
  const path = join(directory, file);
  const json = JSON.parse(await readFile(path, 'utf8'));
  change(json);
  await writeFile(path, JSON.stringify(json));
}

/** Findings by check. */
function findings(result: VerificationResult): Record<string, readonly string[]> {
  return Object.fromEntries(
    result.checks.filter(({ findingCount }) => findingCount > 0).map(({ name, findings: found }) => [name, found]),
  );
}

describe('an untouched checkpoint', () => {
  it.each([
    ['gptq, 4 bits', 'gptq', { bits: 4, groupSize: 32 }],
    ['gptq_v2, 2 bits asymmetric', 'gptq_v2', { bits: 2, groupSize: 32, symmetric: false }],
    ['gptq_v2, 3 bits with a tail group', 'gptq_v2', { bits: 3, groupSize: 64, symmetric: false }],
    ['planar, 5 bits', 'gptq', { bits: 5, groupSize: -1 }],
    ['planar, 6 bits asymmetric', 'gptq_v2', { bits: 6, groupSize: 16, symmetric: false }],
    ['8 bits asymmetric', 'gptq', { bits: 8, groupSize: 32, symmetric: false }],
    ['compressed-tensors, 4 bits', 'compressed-tensors', { bits: 4, groupSize: 32 }],
    ['compressed-tensors, 3 bits asymmetric', 'compressed-tensors', { bits: 3, groupSize: -1, symmetric: false }],
    ['compressed-tensors, 6 bits', 'compressed-tensors', { bits: 6, groupSize: 16 }],
  ] as const)('passes every check (%s)', async (_, format, recipe) => {
    await writeTinyCheckpoint(directory, { format, recipeOf: () => RecipeSchema.parse({ method: 'rtn', ...recipe }) });
    const result = await verifyCheckpoint(directory);
    expect(findings(result)).toEqual({});
    expect(result).toMatchObject({
      passed: true,
      kind: format === 'compressed-tensors' ? format : 'gptq',
      hasManifest: true,
    });
    const counts = Object.fromEntries(result.checks.map(({ name, checked }) => [name, checked]));
    expect(counts).toMatchObject({
      'files are those of the manifest': format === 'compressed-tensors' ? 5 : 6,
      'an independent decoder gets the same weights': 14,
      'weights are what the quantizer meant': 14,
      'every column has a group': 2 * (6 * 64 + 96),
    });
    expect(() => requireVerified(result)).not.toThrow();
  });

  it('passes with planar 3 bits beside 5 bits, an 8 bit override and a linear in 16 bit', async () => {
    const bitsOf = (module: string) => (module.endsWith('o_proj') ? 5 : module.endsWith('q_proj') ? 8 : 3);
    await writeTinyCheckpoint(directory, {
      recipeOf: (module) =>
        module === MODULE ? null : RecipeSchema.parse({ method: 'rtn', groupSize: 32, bits: bitsOf(module) }),
    });
    const result = await verifyCheckpoint(directory);
    expect(findings(result)).toEqual({});
  });

  it('passes as compressed-tensors with several config groups and a linear in 16 bit', async () => {
    const bitsOf = (module: string) => (module.endsWith('o_proj') ? 5 : module.endsWith('q_proj') ? 8 : 3);
    await writeTinyCheckpoint(directory, {
      format: 'compressed-tensors',
      recipeOf: (module) =>
        module === MODULE ? null : RecipeSchema.parse({ method: 'rtn', groupSize: 32, bits: bitsOf(module) }),
    });
    const config = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8'));
    expect(Object.keys(config.quantization_config.config_groups)).toEqual(['group_0', 'group_1', 'group_2']);
    expect(findings(await verifyCheckpoint(directory))).toEqual({});
  });

  it('of another producer passes, and says what could not be checked', async () => {
    await writeTinyCheckpoint(directory);
    await rm(join(directory, MANIFEST_FILE));
    const result = await verifyCheckpoint(directory);
    expect(result).toMatchObject({ passed: true, hasManifest: false });
    expect(result.checks.flatMap(({ notes }) => notes)).toEqual([
      'There is no quantloom.json: whether the files are complete and unchanged cannot be known.',
      'Without a manifest it is not known what the quantizer meant.',
    ]);
  });
});

it('checks files, headers, index and census of a checkpoint whose values have been verified', async () => {
  await writeTinyCheckpoint(directory);
  const result = await verifyCheckpoint(directory, { values: false });
  expect(result).toMatchObject({ passed: true, kind: 'gptq', hasManifest: true });
  expect(result.checks.map(({ name }) => name)).toEqual([
    'the checkpoint can be opened',
    'files are those of the manifest',
    'headers and index agree',
    'tensors are those that config.json implies',
  ]);
});

describe('a damaged checkpoint', () => {
  let written: TinyCheckpoint;
  beforeEach(async () => {
    written = await writeTinyCheckpoint(directory);
  });

  it('is found by one flipped bit of a code: file hash and meaning', async () => {
    await damage(`${MODULE}.qweight`, (bytes) => {
      bytes[5] = (bytes[5] as number) ^ 1;
    });
    const result = await verifyCheckpoint(directory);
    expect(Object.keys(findings(result))).toEqual([
      'files are those of the manifest',
      'weights are what the quantizer meant',
    ]);
    expect(findings(result)['weights are what the quantizer meant']).toEqual([
      expect.stringContaining(`${MODULE}: the weights have SHA-256`),
    ]);
    expect(() => requireVerified(result)).toThrow(
      expect.objectContaining({ code: 'VerificationFailed', message: expect.stringContaining(SHARD) }),
    );
  });

  it.each([
    ['NaN', 0x7e00, 'NaN'],
    ['infinite', 0x7c00, 'Infinity'],
    ['zero', 0x0000, '0'],
    ['negative', 0xbc00, '-1'],
  ])('is found by a scale that is %s', async (_, half, shown) => {
    await damage(`${MODULE}.scales`, (bytes) => bytes.writeUInt16LE(half, 2 * (64 + 3)));
    expect(findings(await verifyCheckpoint(directory))['scales are positive and finite']).toEqual([
      `${MODULE}.scales: ${shown} in group 1, row 3`,
    ]);
  });

  it('counts scales that float16 holds with few bits as a note', async () => {
    await damage(`${MODULE}.scales`, (bytes) => bytes.writeUInt16LE(0x03ff, 0));
    const { checks } = await verifyCheckpoint(directory);
    expect(checks.find(({ name }) => name === 'scales are positive and finite')).toMatchObject({
      findingCount: 0,
      notes: ['1 scales are below 2^-14: float16 holds them with fewer than 11 bits.'],
    });
  });

  it('is found by a zero point of v1 that wraps around', async () => {
    await damage(`${MODULE}.qzeros`, (bytes) => bytes.writeUInt32LE(0x7777777f, 0));
    const found = findings(await verifyCheckpoint(directory))['zero points are in range'] ?? [];
    expect(found[0]).toContain(`${MODULE}.qzeros: the file holds 15 in group 0, row 0`);
  });

  it('is found by a column in a group that does not exist', async () => {
    await damage(`${MODULE}.g_idx`, (bytes) => bytes.writeInt32LE(3, 4 * 17));
    expect(findings(await verifyCheckpoint(directory))['every column has a group']).toEqual([
      `${MODULE}.g_idx: column 17 is in group 3 of 3`,
    ]);
  });

  it('is found by a NaN in a norm', async () => {
    await damage('model.layers.1.input_layernorm.weight', (bytes) => bytes.writeUInt16LE(0x7e00, 2 * 9));
    expect(findings(await verifyCheckpoint(directory))['dense tensors are finite']).toEqual([
      'model.layers.1.input_layernorm.weight: 1 values are NaN or infinite, the first at index 9',
    ]);
  });

  it('is found by a truncated file', async () => {
    const path = join(directory, SHARD);
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    const found = findings(await verifyCheckpoint(directory));
    expect(found['files are those of the manifest']?.[0]).toMatch(
      /^model-00002-of-00003.safetensors: \d+ bytes, the manifest says/,
    );
    expect(found['headers and index agree']?.[0]).toContain(`${SHARD}: `);
  });

  it('is found by a missing file', async () => {
    await rm(join(directory, SHARD));
    expect(findings(await verifyCheckpoint(directory))['files are those of the manifest']).toEqual([
      expect.stringContaining(`${SHARD}: missing, the manifest says`),
    ]);
  });

  it('is found by bytes after the last tensor', async () => {
    await appendFile(join(directory, SHARD), 'x');
    expect(findings(await verifyCheckpoint(directory))['headers and index agree']?.[0]).toContain(
      'the tensors end at byte',
    );
  });

  it('is found by a config that says other bits than the files hold', async () => {
    await edit('config.json', (config) => {
      config.quantization_config.bits = 8;
    });
    const found = findings(await verifyCheckpoint(directory));
    expect(found['tensors are those that config.json implies']).toContain(
      `model.layers.0.self_attn.q_proj.qweight: shape [8, 64], expected [16, 64]`,
    );
    expect(found['an independent decoder gets the same weights']?.[0]).toContain(
      'the tensors hold 4 bits, config.json says 8',
    );
  });

  it('is found by a layer that config.json implies and no file holds', async () => {
    await edit('config.json', (config) => {
      config.num_hidden_layers = 3;
    });
    expect(findings(await verifyCheckpoint(directory))['tensors are those that config.json implies']).toContain(
      'model.layers.2.self_attn.q_proj.qweight: missing',
    );
  });

  it('is found by an index that places a tensor elsewhere', async () => {
    await edit('model.safetensors.index.json', (index) => {
      index.weight_map[`${MODULE}.scales`] = 'model-00001-of-00003.safetensors';
    });
    expect(findings(await verifyCheckpoint(directory))['headers and index agree']).toContain(
      `${MODULE}.scales: in ${SHARD}, the index says model-00001-of-00003.safetensors`,
    );
  });

  it('is found when the manifest recorded another recipe', async () => {
    await edit(MANIFEST_FILE, (manifest) => {
      (manifest.linears[MODULE] as Config['linears'][string]).recipe.bits = 3;
    });
    expect(findings(await verifyCheckpoint(directory))['tensors are those that config.json implies']?.[0]).toContain(
      `${MODULE}: config.json says {"bits":4,"groupSize":32,"symmetric":true}, the manifest {"bits":3`,
    );
  });

  it('is found when the manifest recorded another layout', async () => {
    await edit('config.json', (config) => {
      config.quantization_config.checkpoint_format = 'gptq_v2';
    });
    for (const values of [true, false]) {
      expect(
        findings(await verifyCheckpoint(directory, { values }))['tensors are those that config.json implies'],
      ).toEqual(['config.json says layout gptq_v2, the manifest gptq']);
    }
  });

  it('is found by the hash of a file when values are not looked at', async () => {
    await damage('model.layers.1.input_layernorm.weight', (bytes) => bytes.writeUInt16LE(0x7e00, 2 * 9));
    expect(findings(await verifyCheckpoint(directory, { values: false }))).toEqual({
      'files are those of the manifest': [expect.stringContaining(`${SHARD}: SHA-256`)],
    });
  });

  it('is found by a manifest that is none', async () => {
    await writeFile(join(directory, MANIFEST_FILE), '{"manifestVersion": 9}');
    expect(findings(await verifyCheckpoint(directory))['the checkpoint can be opened']).toEqual([
      'quantloom.json has manifestVersion 9; this program reads 1.',
    ]);
  });

  it('stops when it is aborted', async () => {
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    await expect(verifyCheckpoint(written.directory, { signal: controller.signal })).rejects.toThrow('stop');
  });
});
