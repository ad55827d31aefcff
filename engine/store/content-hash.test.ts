import { createHash, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { type KernelChoice, preferKernels } from '../kernels';
import { both, ContentHash } from './content-hash';

afterEach(() => preferKernels('native'));

describe.each<KernelChoice>(['native', 'typescript'])('SHA-256 with %s kernels', (choice) => {
  test('is that of Node, however the content is cut', async () => {
    preferKernels(choice);
    const content = randomBytes(1 << 20);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 1 << 18 }), { maxLength: 4 }), async (lengths) => {
        const [hash, expected] = [new ContentHash(), createHash('sha256')];
        let at = 0;
        for (const length of lengths) {
          await hash.update(content.subarray(at, at + length));
          expected.update(content.subarray(at, at + length));
          at += length;
        }
        expect(hash.digest()).toBe(expected.digest('hex'));
      }),
      { numRuns: 30 },
    );
  });

  test('contents do not mix that are hashed side by side, shared memory neither', async () => {
    preferKernels(choice);
    const contents = Array.from({ length: 16 }, (_, i) => {
      const content = new Uint8Array(new SharedArrayBuffer(100_000 + i));
      content.set(randomBytes(content.length));
      return content;
    });
    const found = contents.map(async (content) => {
      const hash = new ContentHash();
      for (let at = 0; at < content.length; at += 10_000) await hash.update(content.subarray(at, at + 10_000));
      return hash.digest();
    });
    expect(await Promise.all(found)).toEqual(
      contents.map((content) => createHash('sha256').update(content).digest('hex')),
    );
  });
});

test('both waits for the slower one before it throws', async () => {
  let slow = false;
  const other = new Promise((resolve) => setTimeout(resolve, 20)).then(() => {
    slow = true;
  });
  await expect(both(Promise.reject(new Error('no')), other)).rejects.toThrow('no');
  expect(slow).toBe(true);
  await expect(both(Promise.resolve(1), Promise.reject(new Error('beside')))).rejects.toThrow('beside');
});
