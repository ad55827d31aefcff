/**
 * How fast the store moves data, beside `cp` (a directory) and rclone (a bucket), in turns on the same machine: `npm run bench:store`.
 * Bytes are random, directories lie in the page cache, the bucket is versitygw on the loopback.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type ArtifactStore, openStore } from '../../engine/store';
import { debianPrograms } from '../../test/support/debian-programs';
import { S3_CREDENTIALS, type S3Server, setS3Credentials, startS3Server } from '../../test/support/versitygw';
import { endWithChildren } from '../measure/end-with-children';
import { ResultsFile } from '../results-file';
import type { StoreIdentity, StoreRun } from './store-run';

const PIECE_BYTES = 4 << 20;

interface Work {
  readonly place: string;
  /** The files that are moved, and what is in them. */
  readonly from: string;
  readonly contents: readonly Uint8Array[];
}

/** Seconds by what was done. */
type Times = Record<string, number>;

async function timed(times: Times, what: string, work: () => unknown): Promise<void> {
  const began = performance.now();
  await work();
  times[what] = (performance.now() - began) / 1000;
}

async function inDirectory({ place, from, contents }: Work, times: Times): Promise<void> {
  const copied = (name: string) => {
    const to = join(place, name);
    execFileSync('cp', ['--reflink=never', '-r', from, to]);
    return contents.map((_, i) => join(to, String(i)));
  };
  await timed(times, 'cp', () => copied('copied'));
  await timed(times, 'cp, sync', () => execFileSync('sync', copied('synchronized')));
  const open = () => openStore({ location: join(place, 'store'), cache: { directory: place, bytes: 0 }, s3: {} });
  const [own, other] = [await open(), await open()];
  const names: string[] = [];
  await timed(times, 'put', async () => names.push(...(await Promise.all(contents.map((one) => own.put(one))))));
  await timed(times, 'read what this process wrote', () => readAll(own, names));
  await timed(times, 'read and verify', () => readAll(other, names));
  await timed(times, 'export', () => Promise.all(names.map((name) => other.exportTo(name, join(place, `e${name}`)))));
  for (const name of names) await own.remove(name);
  await timed(times, 'write an activation', () => Promise.all(contents.map((one) => streamed(own, one))));
}

async function inBucket({ place, from, contents }: Work, times: Times, { rclone, s3 }: Bucket): Promise<void> {
  const environment = {
    ...{ PATH: process.env.PATH, HOME: place, ...S3_CREDENTIALS },
    ...{ RCLONE_CONFIG_S_TYPE: 's3', RCLONE_CONFIG_S_PROVIDER: 'Other', RCLONE_CONFIG_S_ENV_AUTH: 'true' },
    ...{ RCLONE_CONFIG_S_ENDPOINT: s3.endpoint, RCLONE_CONFIG_S_FORCE_PATH_STYLE: 'true' },
  };
  const copy = (...places: string[]) => execFileSync(rclone, ['copy', '-q', ...places], { env: environment });
  const remote = `s:${s3.bucket}/rclone`;
  await timed(times, 'rclone up', () => copy(from, remote));
  await timed(times, 'rclone down', () => copy(remote, join(place, 'fetched')));
  const cache = { directory: join(place, 'cache'), bytes: 0 };
  const location = `s3://${s3.bucket}/store`;
  const store = await openStore({ location, cache, s3: { endpoint: s3.endpoint } });
  const names: string[] = [];
  await timed(times, 'put to the bucket', async () =>
    names.push(...(await Promise.all(contents.map((one) => store.put(one))))),
  );
  await timed(times, 'get from the bucket', () => Promise.all(names.map((name) => store.get(name))));
  await timed(times, 'export from the bucket', () =>
    Promise.all(names.map((name) => store.exportTo(name, join(place, `b${name}`)))),
  );
  await timed(times, 'write an activation to the bucket', () =>
    Promise.all(contents.map((one) => streamed(store, one))),
  );
}

interface Bucket {
  readonly rclone: string;
  readonly s3: S3Server;
}

async function readAll(store: ArtifactStore, names: readonly string[]): Promise<void> {
  let memory = new Uint8Array();
  for (const name of names) {
    const reader = await store.open(name);
    if (memory.byteLength !== reader.bytes) memory = new Uint8Array(reader.bytes);
    await reader.read(memory);
    await reader.finish();
    await reader.close();
  }
}

async function streamed(store: ArtifactStore, content: Uint8Array): Promise<void> {
  const writer = await store.create({ durable: false, bytes: content.byteLength });
  for (let at = 0; at < content.byteLength; at += PIECE_BYTES)
    await writer.write(content.subarray(at, at + PIECE_BYTES));
  await writer.commit();
  await writer.close();
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      files: { type: 'string', default: '8' },
      mebibytes: { type: 'string', default: '64' },
      rounds: { type: 'string', default: '3' },
      json: { type: 'string' },
    },
  });
  const workload = { files: Number(values.files), bytes: Number(values.mebibytes) * 2 ** 20 };
  const results = ResultsFile.open<StoreIdentity, StoreRun>(values.json ?? null, 'store', workload);
  const rclone = process.env.QUANTLOOM_RCLONE || join(await debianPrograms('rclone'), 'rclone');
  const work = mkdtempSync(join(tmpdir(), 'quantloom-store-'));
  endWithChildren(work);
  setS3Credentials();
  for (let round = 1; round <= Number(values.rounds); round++) {
    const place = join(work, String(round));
    mkdirSync(place);
    const s3 = await startS3Server();
    try {
      const from = join(place, 'from');
      mkdirSync(from);
      const contents = Array.from({ length: workload.files }, () => new Uint8Array(randomBytes(workload.bytes)));
      contents.forEach((content, i) => {
        writeFileSync(join(from, String(i)), content);
      });
      const times: Times = {};
      await inDirectory({ place, from, contents }, times);
      await inBucket({ place, from, contents }, times, { rclone, s3 });
      const mebibytes = (workload.files * workload.bytes) / 2 ** 20;
      results.add({
        round,
        mebibytesPerSecond: Object.fromEntries(
          Object.entries(times).map(([what, seconds]) => [what, Math.round(mebibytes / seconds)]),
        ),
      });
    } finally {
      await s3.stop();
      rmSync(place, { recursive: true, force: true });
    }
  }
  rmSync(work, { recursive: true, force: true });
  console.table(results.results.runs.map(({ mebibytesPerSecond }) => mebibytesPerSecond));
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
