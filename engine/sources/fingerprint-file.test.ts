import { createHash } from 'node:crypto';
import { truncateSync } from 'node:fs';
import { cp, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serializeSafetensors } from '../checkpoints/safetensors';
import official from '../checkpoints/safetensors/fixtures/official.json';
import { bytesOf, encodeFloats } from '../numbers';
import type { SourceTensor, Tensor } from '../spec';
import { fingerprintFile } from './fingerprint-file';
import { openModelDirectory } from './open-model-directory';

const FILE = 'model.safetensors';
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-fingerprint-'));
  await writeFile(join(directory, 'config.json'), '{}');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function inspected(content?: Record<string, Tensor>): Promise<SourceTensor[]> {
  if (content !== undefined) {
    await writeFile(join(directory, FILE), serializeSafetensors(new Map(Object.entries(content))));
  }
  return Object.values((await openModelDirectory(directory)).tensors);
}

/** `F32` of the given number of elements, all 0.5 but those at `holes`. */
function halves(elements: number, holes: Record<number, number> = {}): Tensor {
  const values = new Float32Array(elements).fill(0.5);
  for (const [at, value] of Object.entries(holes)) values[Number(at)] = value;
  return { dtype: 'F32', shape: [elements], data: bytesOf(values) };
}

describe('fingerprintFile', () => {
  test('hashes the file and each tensor, empty ones and any dtype too', async () => {
    await cp(join(__dirname, '../checkpoints/safetensors/fixtures/official.safetensors'), join(directory, FILE));
    const { sha256: whole, bytes, tensors } = await fingerprintFile(directory, FILE, await inspected());
    // sha256sum official.safetensors
    expect(whole).toBe('ab07805ac20e4b92283e3563cf3697a6e2242b66a9745f21d8ec990dfc1d844c');
    expect(bytes).toBe(1330);
    const hashes = Object.fromEntries(Object.entries(tensors).map(([name, { sha256 }]) => [name, sha256]));
    expect(hashes).toEqual(
      Object.fromEntries(Object.entries(official).map(([name, { data }]) => [name, sha256(Buffer.from(data, 'hex'))])),
    );
    expect(tensors.f16).toEqual({
      kind: 'weight',
      sha256: sha256(Buffer.from(official.f16.data, 'hex')),
      bytes: 6,
      dtype: 'F16',
      shape: [1, 3],
      at: { file: join(directory, FILE), offset: expect.any(Number) },
    });
  });

  test('hashes tensors of several chunks, and lets the event loop turn after each chunk', async () => {
    const content = { big: halves(3_000_001), empty: halves(0), small: halves(1) };
    const tensors = await inspected(content);
    let turns = 0;
    let running = true;
    const turn = () => {
      turns++;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    const turnsAtProgress: number[] = [];
    const seen: number[] = [];
    const fingerprint = await fingerprintFile(directory, FILE, tensors, {
      onProgress: ({ bytes, totalBytes }) => {
        turnsAtProgress.push(turns);
        seen.push(bytes / totalBytes);
      },
    });
    running = false;
    expect(fingerprint.sha256).toBe(sha256(serializeSafetensors(new Map(Object.entries(content)))));
    expect(fingerprint.tensors.big?.sha256).toBe(sha256(content.big.data));
    expect(fingerprint.tensors.empty?.sha256).toBe(sha256(new Uint8Array(0)));
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(1);
    expect(turnsAtProgress.length).toBeGreaterThan(10);
    // Between any three chunks the loop turned at least once.
    const stuck = turnsAtProgress.filter((value, i) => i >= 3 && value === turnsAtProgress[i - 3]);
    expect(stuck).toEqual([]);
  });

  test.each([
    ['in the first chunk', { 3: Number.NaN }, '1 NaN or infinite element, the first at index 3 of'],
    [
      'in a later chunk',
      { 1500000: -Infinity, 2999999: Number.NaN },
      '2 NaN or infinite elements, the first at index 1500000 of',
    ],
  ])('refuses NaN and Infinity %s, naming tensor, count and index', async (_, holes, message) => {
    const tensors = await inspected({ 'a.weight': halves(10), 'b.weight': halves(3_000_000, holes) });
    const failure = fingerprintFile(directory, FILE, tensors);
    await expect(failure).rejects.toMatchObject({ code: 'NonFiniteWeights', retryable: false });
    await expect(failure).rejects.toThrow(`Tensor b.weight of ${join(directory, FILE)} has ${message}`);
  });

  test.each(['F16', 'BF16', 'F64'] as const)('refuses Infinity in %s', async (dtype) => {
    const values = [1, 2, Infinity];
    const data = dtype === 'F64' ? bytesOf(Float64Array.from(values)) : encodeFloats(Float32Array.from(values), dtype);
    const tensors = await inspected({ w: { dtype, shape: [3], data } });
    await expect(fingerprintFile(directory, FILE, tensors)).rejects.toMatchObject({
      options: { details: { tensor: 'w', count: 1, first: 2 } },
    });
  });

  test('notices that the file is not the one that was inspected', async () => {
    const tensors = await inspected({ a: halves(4), b: halves(4) });
    await inspected({ a: halves(4), b: { ...halves(4), shape: [2, 2] } });
    await expect(fingerprintFile(directory, FILE, tensors)).rejects.toMatchObject({
      code: 'SourceChanged',
      message: expect.stringContaining('tensor b is not what and where it was'),
    });
    await inspected({ a: halves(4) });
    await expect(fingerprintFile(directory, FILE, tensors)).rejects.toThrow('it holds 1 tensors, not 2');
    await truncate(join(directory, FILE), 20);
    await expect(fingerprintFile(directory, FILE, tensors)).rejects.toMatchObject({ code: 'SourceChanged' });
    await rm(join(directory, FILE));
    await expect(fingerprintFile(directory, FILE, tensors)).rejects.toMatchObject({ code: 'SourceChanged' });
  });

  test('notices that the file is cut while it is read', async () => {
    const tensors = await inspected({ big: halves(3_000_000) });
    const failure = fingerprintFile(directory, FILE, tensors, {
      onProgress: () => {
        truncateSync(join(directory, FILE), 1000);
      },
    });
    await expect(failure).rejects.toMatchObject({
      code: 'SourceChanged',
      message: expect.stringContaining('while it was read'),
    });
  });

  test('stops when it is aborted', async () => {
    const tensors = await inspected({ big: halves(3_000_000) });
    const controller = new AbortController();
    let calls = 0;
    const failure = fingerprintFile(directory, FILE, tensors, {
      signal: controller.signal,
      onProgress: () => {
        if (++calls === 2) controller.abort(new Error('enough'));
      },
    });
    await expect(failure).rejects.toThrow('enough');
    expect(calls).toBe(2);
  });
});
