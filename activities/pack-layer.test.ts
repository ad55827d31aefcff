import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { weightSha256 } from '../engine/checkpoints';
import { encodeFloats } from '../engine/numbers';
import { serializeQuantizedLinear } from '../engine/quantizers';
import { type ArtifactRef, RecipeSchema } from '../engine/spec';
import { openFileStore } from '../engine/store';
import { TINY_CONFIG, type TinyCheckpoint, writeTinyCheckpoint } from '../test/support/tiny-checkpoint';
import { packLayer } from './pack-layer';
import type { ActivityRuntime, Attempt } from './runtime';

const LAYER = 'model.layers.1';
const MODULE = `${LAYER}.mlp.down_proj`;
const NORM = `${LAYER}.input_layernorm.weight`;
const RECIPE = RecipeSchema.parse({ method: 'rtn', groupSize: 32 });
const attempt: Attempt = { signal: new AbortController().signal, progress: () => undefined };

describe('packing a layer', () => {
  let directory: string;
  let runtime: ActivityRuntime;
  let tiny: TinyCheckpoint;
  let events: { event: string; step: unknown }[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-pack-'));
    tiny = await writeTinyCheckpoint(join(directory, 'tiny'));
    events = [];
    runtime = {
      store: await openFileStore(join(directory, 'store')),
      storeDirectory: join(directory, 'store'),
      threads: 1,
      log: (event, { step }) => events.push({ event, step }),
    };
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  async function put(kind: ArtifactRef['kind'], content: Uint8Array): Promise<ArtifactRef> {
    return { kind, sha256: await runtime.store.put(content), bytes: content.byteLength };
  }

  function document(value: unknown): Promise<ArtifactRef> {
    return put('document', Buffer.from(JSON.stringify(value)));
  }

  async function vector(...values: number[]): Promise<ArtifactRef> {
    const weight = await put('weight', encodeFloats(Float32Array.from(values), 'F16'));
    return { ...weight, dtype: 'F16', shape: [values.length] };
  }

  /** A layer of one linear and one norm; `signed` and `norm` are what may be wrong with it. */
  async function layer({
    signed = null,
    norm = [1, 2],
  }: {
    readonly signed?: string | null;
    readonly norm?: readonly number[];
  } = {}): Promise<Parameters<typeof packLayer>[0]> {
    const linear = tiny.linears.get(MODULE) as NonNullable<ReturnType<typeof tiny.linears.get>>;
    const { rows, columns } = linear;
    const plan = {
      spec: { formats: ['gptq', 'gptq_v2'] },
      config: TINY_CONFIG,
      blocks: [
        {
          index: 0,
          name: LAYER,
          stages: [{ stage: 'mlp', linears: [{ name: MODULE, rows, columns, bias: false, recipe: RECIPE }] }],
          tensors: [NORM, `${MODULE}.weight`],
        },
      ],
      remainder: ['model.norm.weight'],
      tensors: { [NORM]: { dtype: 'F16' }, 'model.norm.weight': { dtype: 'F16' } },
    };
    const dense = await vector(...norm);
    return {
      plan: await document(plan),
      table: await document({ [NORM]: dense, 'model.norm.weight': dense }),
      block: 0,
      quantized: { [MODULE]: await put('quantized-linear', serializeQuantizedLinear(linear)) },
      reports: [await document([{ name: MODULE, recipe: RECIPE, weightSha256: signed ?? weightSha256(linear) }])],
      history: null,
      retired: [],
    };
  }

  function computed(): unknown[] {
    return events.filter(({ event }) => event === 'computed').map(({ step }) => step);
  }

  it('verifies each format once, and what no block owns', async () => {
    const input = await layer();
    expect(await packLayer(input, runtime, attempt)).toMatchObject({ cached: false });
    expect(computed()).toEqual(['pack-layer', 'verify-shard', 'pack-layer', 'verify-shard']);
    await packLayer({ ...input, block: null, quantized: {}, reports: [] }, runtime, attempt);
    expect(computed()).toHaveLength(8);
    expect(await packLayer(input, runtime, attempt)).toMatchObject({ cached: true });
    expect(computed()).toHaveLength(8);
  });

  it('fails when the shard is not what the quantizer meant, and leaves no record of it', async () => {
    const wrong = await layer({ signed: 'ab'.repeat(32) });
    const failure = {
      code: 'VerificationFailed',
      retryable: false,
      message: expect.stringContaining(`${MODULE}: the`),
    };
    await expect(packLayer(wrong, runtime, attempt)).rejects.toMatchObject(failure);
    await expect(packLayer(wrong, runtime, attempt)).rejects.toMatchObject(failure);
    expect(computed()).toEqual(['pack-layer', 'pack-layer']);
    const records: string[] = [];
    for await (const { key } of runtime.store.records()) records.push(key);
    expect(records).toEqual([]);
  });

  it('fails when a tensor that no block owns is not finite', async () => {
    const input = await layer({ norm: [1, Number.NaN] });
    await expect(
      packLayer({ ...input, block: null, quantized: {}, reports: [] }, runtime, attempt),
    ).rejects.toMatchObject({
      code: 'VerificationFailed',
      message: expect.stringContaining('model.norm.weight: 1 values are NaN or infinite, the first at index 1'),
    });
  });

  it('verifies what is stored: a shard that the disk has damaged is packed again first', async () => {
    const input = await layer();
    const { shards } = await packLayer(input, runtime, attempt);
    const { sha256, from } = shards.gptq as ArtifactRef;
    const path = join(directory, 'store', 'objects', sha256.slice(0, 2), sha256);
    const content = await readFile(path);
    content[content.length - 1] = (content[content.length - 1] as number) ^ 1;
    await writeFile(path, content);
    for await (const { key } of runtime.store.records()) if (key !== from) await runtime.store.forget(key);
    await packLayer(input, runtime, attempt);
    expect(events.filter(({ event }) => event === 'recomputing')).toEqual([
      { event: 'recomputing', step: 'pack-layer' },
    ]);
    expect(Buffer.from(await runtime.store.get(sha256)).equals(await readFile(path))).toBe(true);
  });
});
