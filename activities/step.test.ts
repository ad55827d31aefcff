import { createHash } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ArtifactRef } from '../engine/spec';
import { openFileStore } from '../engine/store';
import { computationKey } from './identity';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, perform, readingBench, together } from './step';

const attempt: Attempt = { signal: new AbortController().signal, progress: () => undefined };
const square = defineStep({ name: 'square', version: 1, run: async (n: number) => ({ result: n * n }) });

describe('a step', () => {
  let directory: string;
  let runtime: ActivityRuntime;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-step-'));
    const store = await openFileStore(directory);
    runtime = { store, storeDirectory: directory, threads: 1, log: () => undefined };
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('that is found tells the seconds that computing it took', async () => {
    const first = await perform(square, 12, runtime, attempt);
    expect(first).toMatchObject({ result: 144, cached: false, secondsSaved: 0 });
    const again = await perform(square, 12, runtime, attempt);
    expect(again).toEqual({ result: 144, cached: true, seconds: 0, secondsSaved: first.seconds });
  });

  it('that is found in a record without seconds saves 0 of them', async () => {
    const record = { step: 'square', version: 1, input: 7, output: { result: 49 } };
    await runtime.store.record(computationKey('square', 1, 7), record);
    const found = await perform(square, 7, runtime, attempt);
    expect(found).toEqual({ result: 49, cached: true, seconds: 0, secondsSaved: 0 });
  });

  describe('whose result is lost before it is read', () => {
    const letters = defineStep({
      name: 'letters',
      version: 1,
      run: async (text: string, bench) => ({ stored: await bench.write('activation', Buffer.from(text)) }),
    });
    /** Reads the artifact, which is dropped so many times just before. */
    const readAfterLosses = async (losses: number) => {
      const { stored } = await perform(letters, 'abc', runtime, attempt);
      let left = losses;
      const read = async () => {
        if (left-- > 0) await runtime.store.recycle(stored.sha256);
        return runtime.store.get(stored.sha256);
      };
      const found = await readingBench(runtime, attempt).withArtifacts([stored], read);
      return Buffer.from(found).toString();
    };

    it('is computed again, and once more when another layer drops it meanwhile', async () => {
      expect(await readAfterLosses(1)).toBe('abc');
      expect(await readAfterLosses(3)).toBe('abc');
    });

    it('is computed again from where its source lies now, when that was moved since', async () => {
      const content = Buffer.from('abc');
      const sha256 = createHash('sha256').update(content).digest('hex');
      const copies = defineStep({
        name: 'copies',
        version: 1,
        run: async (source: ArtifactRef, bench) => ({
          stored: await bench.write('activation', await bench.read(source)),
        }),
      });
      const lying = (name: string): ArtifactRef => ({
        ...{ kind: 'weight', sha256, bytes: 3, dtype: 'F16', shape: [3] },
        at: { file: join(directory, name), offset: 0 },
      });
      await writeFile(join(directory, 'before'), content);
      await perform(copies, lying('before'), runtime, attempt);
      await rename(join(directory, 'before'), join(directory, 'after'));
      const { stored, cached } = await perform(copies, lying('after'), runtime, attempt);
      expect(cached).toBe(true);
      await runtime.store.remove(stored.sha256);
      expect(Buffer.from(await readingBench(runtime, attempt).read(stored)).toString()).toBe('abc');
    });

    it('is left to another attempt when that goes on', async () => {
      await expect(readAfterLosses(100)).rejects.toMatchObject({ code: 'ArtifactMissing', retryable: true });
    });
  });

  it('counts with others as cached only when all of them were', () => {
    const cached = { cached: true, seconds: 0, secondsSaved: 3 };
    expect(together([cached, { cached: false, seconds: 2, secondsSaved: 0 }])).toEqual({
      cached: false,
      seconds: 2,
      secondsSaved: 3,
    });
    expect(together([cached, cached])).toEqual({ cached: true, seconds: 0, secondsSaved: 6 });
  });
});
