import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTinyCheckpoint } from '../../test/support/tiny-checkpoint';
import { RecipeSchema } from '../spec';
import { type CheckpointShard, shardsOfCheckpoint } from './shards-of-checkpoint';
import { RawSafetensors } from './verification/raw-safetensors';
import { requireShardVerified, type ShardVerification, verifyShard } from './verify-shard';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-shard-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const MODULE = 'model.layers.1.mlp.down_proj';

interface Shard extends CheckpointShard {
  readonly content: Buffer;
}

async function readShards(): Promise<Shard[]> {
  const shards = await shardsOfCheckpoint(directory);
  return Promise.all(
    shards.map(async (shard) => ({ ...shard, content: await readFile(join(directory, shard.file.name)) })),
  );
}

function verified(shard: Shard): Promise<ShardVerification> {
  return verifyShard(shard.content, { ...shard, name: shard.file.name });
}

/** Findings by check. */
function findings({ checks }: ShardVerification): Record<string, readonly string[]> {
  return Object.fromEntries(
    checks.filter(({ findingCount }) => findingCount > 0).map(({ name, findings: found }) => [name, found]),
  );
}

/** Overwrites bytes of a tensor in place. */
async function damage({ content }: Shard, tensor: string, change: (bytes: Buffer) => void): Promise<void> {
  const raw = await RawSafetensors.of(content);
  const { begin, end } = raw.tensors.get(tensor) as { begin: number; end: number };
  change(content.subarray(begin, end));
}

describe('the shards of an untouched checkpoint', () => {
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
  ] as const)('pass every check (%s)', async (_, format, recipe) => {
    await writeTinyCheckpoint(directory, { format, recipeOf: () => RecipeSchema.parse({ method: 'rtn', ...recipe }) });
    const shards = await readShards();
    const results = await Promise.all(shards.map(verified));
    expect(results.map(findings)).toEqual([{}, {}, {}]);
    expect(results.map(({ passed }) => passed)).toEqual([true, true, true]);
    const counts = results.map(({ checks }) => Object.fromEntries(checks.map(({ name, checked }) => [name, checked])));
    const layer = {
      'an independent decoder gets the same weights': 7,
      'weights are what the quantizer meant': 7,
      'every column has a group': 6 * 64 + 96,
      'dense tensors are finite': 2,
    };
    expect(counts).toMatchObject([layer, layer, { 'dense tensors are finite': 2 }]);
    for (const result of results) expect(() => requireShardVerified(result)).not.toThrow();
  });

  it('pass with mixed widths and a linear in 16 bit', async () => {
    const bitsOf = (module: string) => (module.endsWith('o_proj') ? 5 : 3);
    await writeTinyCheckpoint(directory, {
      recipeOf: (module) =>
        module === MODULE ? null : RecipeSchema.parse({ method: 'rtn', groupSize: 32, bits: bitsOf(module) }),
    });
    const shards = await readShards();
    expect(shards.map(({ layout, linears }) => [layout, Object.keys(linears).length])).toEqual([
      ['gptq_p', 7],
      ['gptq_p', 6],
      ['gptq_p', 0],
    ]);
    expect((await Promise.all(shards.map(verified))).map(findings)).toEqual([{}, {}, {}]);
  });
});

describe('a shard', () => {
  let shard: Shard;
  let remainder: Shard;
  beforeEach(async () => {
    await writeTinyCheckpoint(directory);
    [, shard, remainder] = (await readShards()) as [Shard, Shard, Shard];
  });

  it('with one flipped bit of a code is not what the quantizer meant', async () => {
    await damage(shard, `${MODULE}.qweight`, (bytes) => {
      bytes[5] = (bytes[5] as number) ^ 1;
    });
    const result = await verified(shard);
    expect(findings(result)).toEqual({
      'weights are what the quantizer meant': [expect.stringContaining(`${MODULE}: the weights have SHA-256`)],
    });
    expect(result.passed).toBe(false);
    expect(() => requireShardVerified(result)).toThrow(
      expect.objectContaining({
        code: 'VerificationFailed',
        retryable: false,
        message: expect.stringMatching(`^${shard.file.name}: 1 findings.*${MODULE}: the weights have SHA-256`),
      }),
    );
  });

  it.each([
    ['NaN', 0x7e00, 'NaN'],
    ['infinite', 0x7c00, 'Infinity'],
    ['zero', 0x0000, '0'],
    ['negative', 0xbc00, '-1'],
  ])('with a scale that is %s is found out', async (_, half, shown) => {
    await damage(shard, `${MODULE}.scales`, (bytes) => bytes.writeUInt16LE(half, 2 * (64 + 3)));
    expect(findings(await verified(shard))['scales are positive and finite']).toEqual([
      `${MODULE}.scales: ${shown} in group 1, row 3`,
    ]);
  });

  it('with a zero point of v1 that wraps around is found out', async () => {
    await damage(shard, `${MODULE}.qzeros`, (bytes) => bytes.writeUInt32LE(0x7777777f, 0));
    expect(findings(await verified(shard))['zero points are in range']?.[0]).toContain(
      `${MODULE}.qzeros: the file holds 15 in group 0, row 0`,
    );
  });

  it('with a column in a group that does not exist is found out', async () => {
    await damage(shard, `${MODULE}.g_idx`, (bytes) => bytes.writeInt32LE(3, 4 * 17));
    expect(findings(await verified(shard))['every column has a group']).toEqual([
      `${MODULE}.g_idx: column 17 is in group 3 of 3`,
    ]);
  });

  it('with a column in the group of others is not what the quantizer meant', async () => {
    await damage(shard, `${MODULE}.g_idx`, (bytes) => bytes.writeInt32LE(2, 4 * 17));
    expect(Object.keys(findings(await verified(shard)))).toEqual(['weights are what the quantizer meant']);
  });

  it('with a NaN in a norm is found out, in what no layer owns too', async () => {
    const nan = (bytes: Buffer) => void bytes.writeUInt16LE(0x7e00, 2 * 9);
    await damage(shard, 'model.layers.1.input_layernorm.weight', nan);
    await damage(remainder, 'model.norm.weight', nan);
    expect(findings(await verified(shard))).toEqual({
      'dense tensors are finite': [
        'model.layers.1.input_layernorm.weight: 1 values are NaN or infinite, the first at index 9',
      ],
    });
    expect(findings(await verified(remainder))).toEqual({
      'dense tensors are finite': ['model.norm.weight: 1 values are NaN or infinite, the first at index 9'],
    });
  });

  it('of compressed-tensors with a bad scale, zero point, code or shape is found out', async () => {
    const module = 'model.layers.1.self_attn.k_proj';
    await writeTinyCheckpoint(directory, {
      format: 'compressed-tensors',
      recipeOf: () => RecipeSchema.parse({ method: 'rtn', groupSize: 32, symmetric: false }),
    });
    const found = async (part: string, change: (bytes: Buffer) => void) => {
      const [, damaged] = (await readShards()) as [Shard, Shard];
      await damage(damaged, `${module}.${part}`, change);
      return findings(await verified(damaged));
    };
    const notMeant = {
      'weights are what the quantizer meant': [expect.stringContaining(`${module}: the weights have`)],
    };
    const flip = (bytes: Buffer) => void bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
    expect(await found('weight_packed', flip)).toEqual(notMeant);
    expect(await found('weight_zero_point', flip)).toEqual(notMeant);
    expect(await found('weight_scale', (bytes) => bytes.writeUInt16LE(0x7c00, 2 * (2 * 3 + 1)))).toMatchObject({
      'scales are positive and finite': [`${module}.weight_scale: Infinity in group 1, row 3`],
    });
    expect(await found('weight_shape', (bytes) => bytes.writeInt32LE(96, 8))).toEqual({
      'an independent decoder gets the same weights': [
        expect.stringContaining(`${module}: the tensors hold 2.6666666666666665 bits, the quantizer recorded 4`),
      ],
    });
  });

  it('of other bits than the quantizer recorded is found out', async () => {
    const recorded = shard.linears[MODULE] as Shard['linears'][string];
    const linears = { ...shard.linears, [MODULE]: { ...recorded, bits: 3 } };
    expect(findings(await verified({ ...shard, linears }))).toEqual({
      'an independent decoder gets the same weights': [`${MODULE}: the tensors hold 4 bits, the quantizer recorded 3`],
    });
  });

  it('of another layout than it is to have is found out', async () => {
    await writeTinyCheckpoint(directory, {
      format: 'gptq_v2',
      recipeOf: () => RecipeSchema.parse({ method: 'rtn', groupSize: 32, symmetric: false }),
    });
    const [first] = (await readShards()) as [Shard];
    expect(findings(await verified(first))).toEqual({});
    const found = findings(await verified({ ...first, layout: 'gptq' }));
    expect(found['weights are what the quantizer meant']).toHaveLength(7);
  });

  it('that lacks a linear, or has one that nobody quantized, is found out', async () => {
    const { [MODULE]: recorded, ...others } = shard.linears;
    const linears = { ...others, 'model.layers.1.mlp.other': recorded as Shard['linears'][string] };
    expect(findings(await verified({ ...shard, linears }))).toEqual({
      'an independent decoder gets the same weights': [
        `${MODULE}: stored quantized, but the quantizer recorded that it is not`,
      ],
      'weights are what the quantizer meant': ['model.layers.1.mlp.other: missing'],
    });
  });

  it.each([
    ['truncated', (content: Buffer) => content.subarray(0, -1)],
    ['longer than its tensors', (content: Buffer) => Buffer.concat([content, Buffer.from('x')])],
    ['shorter than a header', (content: Buffer) => content.subarray(0, 5)],
  ])('that is %s cannot be opened', async (_, change) => {
    const result = await verified({ ...shard, content: change(shard.content) });
    expect(Object.keys(findings(result))).toEqual(['the shard can be opened']);
  });

  it('of a format that this version does not have is not passed', async () => {
    const result = await verified({ ...shard, format: 'tomorrow' });
    expect(findings(result)).toEqual({
      'the shard can be opened': [expect.stringContaining('"tomorrow" is no format of this version of Quantloom')],
    });
    expect(result.passed).toBe(false);
  });

  it('stops being verified when it is aborted', async () => {
    const signal = AbortSignal.abort(new Error('stop'));
    await expect(verifyShard(shard.content, { ...shard, name: 'shard' }, { signal })).rejects.toThrow('stop');
  });
});
