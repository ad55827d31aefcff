import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EarlyFlush } from './early-flush';
import { HashingWriter } from './synchronized-write';

const ENOUGH = 16 << 20;

test('a flush that failed in the background is told by what is written next, and at the end', async () => {
  const handle = await open('/dev/null', 'w'); // cannot be flushed
  try {
    const early = new EarlyFlush(handle);
    early.written(ENOUGH - 1);
    await early.settled();
    early.written(1);
    await expect(early.settled()).rejects.toMatchObject({ code: 'EINVAL', syscall: 'fdatasync' });
    expect(() => early.written(1)).toThrow('EINVAL');
    await expect(early.settled()).rejects.toMatchObject({ code: 'EINVAL' });
  } finally {
    await handle.close();
  }
});

test('a failure leaves the next file its flushes', async () => {
  const [first, second] = [await open('/dev/null', 'w'), await open('/dev/null', 'w')];
  try {
    for (const handle of [first, second]) {
      const early = new EarlyFlush(handle);
      early.written(ENOUGH);
      await expect(early.settled()).rejects.toMatchObject({ code: 'EINVAL' });
    }
  } finally {
    await first.close();
    await second.close();
  }
});

test('a file that is closed while it is flushed is closed after that', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'quantloom-flush-'));
  try {
    const writer = await HashingWriter.create(path.join(directory, 'file'), { durable: true });
    await writer.write(new Uint8Array(2 * ENOUGH));
    await writer.close();
    const next = await HashingWriter.create(path.join(directory, 'next'), { durable: true });
    await next.write(new Uint8Array(2 * ENOUGH));
    await next.synchronize();
    await next.close();
    // head -c 33554432 /dev/zero | sha256sum
    expect(next.sha256()).toBe('83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
