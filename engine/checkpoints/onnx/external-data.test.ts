import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ExternalData } from './external-data';

describe('external data', () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-external-'));
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('begins small tensors at pages, and large ones where Windows can map them', async () => {
    const data = new ExternalData({ directory, name: 'weights' });
    const sizes = [10, 5000, 2 ** 20, 1];
    const places = [];
    for (const [i, size] of sizes.entries()) places.push(await data.append(new Uint8Array(size).fill(i + 1)));
    await data.close();
    expect(places.map(({ offset }) => offset)).toEqual([0, 4096, 65536, 65536 + 2 ** 20]);
    const bytes = await readFile(join(directory, 'weights'));
    expect(bytes.byteLength).toBe(65536 + 2 ** 20 + 1);
    for (const [i, { offset, length }] of places.entries()) {
      expect(bytes.subarray(offset, offset + length)).toEqual(Buffer.alloc(sizes[i] as number, i + 1));
    }
  });

  it('begins a new file where a tensor would pass the limit, and gives one that is larger a file of its own', async () => {
    const data = new ExternalData({ directory, name: 'weights', fileLimitBytes: 8192 });
    const places = [];
    for (const size of [4096, 4096, 1, 9000, 1]) places.push(await data.append(new Uint8Array(size)));
    await data.close();
    expect(places.map(({ file, offset }) => [file, offset])).toEqual([
      ['weights', 0],
      ['weights', 4096],
      ['weights_1', 0],
      ['weights_2', 0],
      ['weights_3', 0],
    ]);
    expect(data.files.map(({ bytes }) => bytes)).toEqual([8192, 1, 9000, 1]);
  });
});
