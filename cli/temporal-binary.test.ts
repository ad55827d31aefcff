import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type BinarySource, findTemporalBinary } from './temporal-binary';

function executable(path: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '#!/bin/sh\necho temporal version 0.0.0\n');
  chmodSync(path, 0o755);
  return path;
}

const offline: BinarySource = { name: 'a source that is offline', fetch: () => Promise.reject(new Error('no route')) };
const source: BinarySource = { name: 'a source', fetch: async (directory) => executable(join(directory, 'temporal')) };

describe('the Temporal binary', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'quantloom-binary-'));
  });

  it('is the one of QUANTLOOM_TEMPORAL_CLI, then on PATH, then kept, then fetched', async () => {
    const named = executable(join(home, 'named'));
    const onPath = executable(join(home, 'path', 'temporal'));
    const kept = join(home, 'bin', 'temporal');
    const PATH = `/nowhere:${join(home, 'path')}`;
    const find = (environment: Record<string, string>) =>
      findTemporalBinary({ home, environment, sources: [offline, source] });

    expect(await find({ QUANTLOOM_TEMPORAL_CLI: named, PATH })).toBe(named);
    expect(await find({ PATH })).toBe(onPath);
    expect(existsSync(kept)).toBe(false);
    expect(await find({ PATH: '/nowhere' })).toBe(kept);
    expect(readdirSync(join(home, 'bin'))).toEqual(['temporal']);
    // Found again without any source.
    expect(await findTemporalBinary({ home, environment: {}, sources: [] })).toBe(kept);
  });

  it('keeps nothing that does not run', async () => {
    const broken: BinarySource = {
      name: 'a broken source',
      async fetch(directory) {
        writeFileSync(join(directory, 'temporal'), '#!/bin/sh\nexit 3\n', { mode: 0o755 });
        return join(directory, 'temporal');
      },
    };
    await expect(findTemporalBinary({ home, environment: {}, sources: [broken] })).rejects.toThrow(/a broken source/);
    expect(readdirSync(join(home, 'bin'))).toEqual([]);
  });

  it('is refused when named but not there, rather than replaced by another', async () => {
    const environment = { QUANTLOOM_TEMPORAL_CLI: join(home, 'missing') };
    await expect(findTemporalBinary({ home, environment, sources: [source] })).rejects.toThrow(
      /not an executable file/,
    );
  });

  it('lists everything that was tried', async () => {
    const found = findTemporalBinary({ home, environment: { PATH: '' }, sources: [offline] });
    await expect(found).rejects.toMatchObject({
      code: 'ServerUnavailable',
      message: expect.stringMatching(/QUANTLOOM_TEMPORAL_CLI.*PATH.*bin.*a source that is offline \(no route\)/),
    });
  });
});
