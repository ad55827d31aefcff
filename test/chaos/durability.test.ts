import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning } from '../../cli/process-identity';
import { loadS3 } from '../../engine/store';
import { FaultyProxy } from '../support/faulty-proxy';
import { manifestOf, type Outcome, outcomeOf, repeatedWork } from '../support/job-outcome';
import { ProgramJob, type ProgramJobOptions, type Target } from '../support/program-job';
import { seededRandom } from '../support/random-moments';
import { smallDisk } from '../support/small-disk';
import { FIRST_START_MS, S3_CREDENTIALS, setS3Credentials, startS3Server } from '../support/versitygw';

/** How many jobs are killed: QUANTLOOM_CHAOS_JOBS=50 for a soak. QUANTLOOM_CHAOS_SEED repeats the job whose seed was printed. */
const JOBS = Number(process.env.QUANTLOOM_CHAOS_JOBS ?? 1);
const SEED = Number(process.env.QUANTLOOM_CHAOS_SEED ?? Date.now() % 1_000_000);
const TARGETS: readonly Target[] = ['gpu', 'cpu', 'control', 'all workers', 'server', 'everything'];

describe('a job', () => {
  const jobs: ProgramJob[] = [];
  let undisturbed: Outcome;
  let steps: number;

  function newJob(options?: ProgramJobOptions): ProgramJob {
    const job = new ProgramJob(options);
    jobs.push(job);
    return job;
  }

  /** `most`: workers that share the rows of a solve have more, smaller steps. */
  async function expectDone(job: ProgramJob, story: string, most = job.workers > 1 ? 2 * steps : steps): Promise<void> {
    expect({ story, ...(await outcomeOf(job.output)) }).toEqual({ story, ...undisturbed });
    expect({ story, repeated: repeatedWork(job) }).toEqual({ story, repeated: [] });
    expect(job.computed).toBeLessThanOrEqual(most);
  }

  async function removeJobs(): Promise<void> {
    for (const job of jobs.splice(0)) await job.remove();
  }

  beforeAll(async () => {
    const job = newJob();
    const { code, stderr } = await job.start().ended;
    if (code !== 0) throw new Error(`the undisturbed job ends with exit code ${code}: ${stderr}`);
    undisturbed = await outcomeOf(job.output);
    steps = job.computed;
    expect(repeatedWork(job)).toEqual([]);
    await removeJobs();
  }, 300_000);

  afterEach(removeJobs, 60_000);

  it.each(Array.from({ length: JOBS }, (_, index) => SEED + index))(
    'survives kill -9 of whatever runs at random moments (seed %i)',
    async (seed) => {
      const random = seededRandom(seed);
      const job = newJob({ workers: JOBS > 1 && random() < 0.5 ? 3 : 1 });
      const shuffled = TARGETS.map((target) => ({ target, place: random() })).sort((a, b) => a.place - b.place);
      const moments = shuffled.map(() => Math.floor(random() * (steps - 5))).sort((a, b) => a - b);
      const history = [`seed ${seed}`];
      let program = job.start();
      for (const [index, { target }] of shuffled.entries()) {
        await job.untilComputed(moments[index] as number, program);
        await delay(random() * 700);
        history.push(`${target} after ${job.computed} steps (${job.kill(target, program)} killed)`);
        if (target !== 'everything') continue;
        await program.ended;
        program = job.start();
      }
      const { code, stderr } = await program.ended;
      const story = history.join(', ');
      process.stderr.write(`${story}\n`);
      expect({ story, code, stderr }).toEqual({ story, code: 0, stderr });
      await expectDone(job, story);
      expect(await job.leftovers()).toEqual([]);
    },
    360_000,
  );

  it("goes on from the store when Temporal's database is gone", async () => {
    const job = newJob();
    const first = job.start();
    await job.untilComputed(steps / 2, first);
    job.kill('everything', first);
    await first.ended;
    expect(await job.leftovers()).toEqual([]);
    const database = readdirSync(job.home).filter((name) => name.startsWith('temporal.db'));
    expect(database).toContain('temporal.db');
    for (const name of database) rmSync(join(job.home, name));

    const { code, document } = await job.start().ended;
    expect(code).toBe(0);
    await expectDone(job, 'lost database');
    const [layer] = manifestOf(job.output).run.blocks;
    expect(layer).toMatchObject({ computed: 0 });
    // Counted by activity, of which some are several steps.
    expect(document?.cached).toBeGreaterThan(steps / 5);
  }, 300_000);

  it('stops in order when it is interrupted, and the same command goes on with it', async () => {
    const job = newJob();
    for (const [signal, moment] of [
      ['SIGTERM', steps / 5],
      ['SIGINT', steps / 2],
    ] as const) {
      const program = job.start();
      await job.untilComputed(moment, program);
      const children = job.processes(program);
      expect(children.length).toBeGreaterThanOrEqual(5);
      process.kill(program.pid, signal);
      const { code, document } = await program.ended;
      expect(children.filter(isRunning)).toEqual([]);
      expect({ code, document }).toMatchObject({ code: 130, document: { state: 'interrupted', goesOn: false } });
    }
    expect((await job.start().ended).code).toBe(0);
    await expectDone(job, 'interrupted');
  }, 360_000);

  it('gives the same bytes with three workers of each kind', async () => {
    const job = newJob({ workers: 3 });
    expect((await job.start().ended).code).toBe(0);
    await expectDone(job, 'three workers');
    const calibrating = job.log().filter(({ event, step }) => event === 'computed' && step === 'calibrate-slice');
    expect(new Set(calibrating.map(({ pid }) => pid)).size).toBeGreaterThan(1);
  }, 300_000);

  it(
    'survives a bucket that fails, workers and a server that are killed, all at once',
    async () => {
      const random = seededRandom(SEED);
      setS3Credentials();
      const server = await startS3Server();
      const proxy = await FaultyProxy.start(server.endpoint);
      try {
        const faults = [
          'cut',
          'lost answer',
          'broken answer',
          { status: 503 },
          { status: 500 },
          { delayMs: 300 },
        ] as const;
        proxy.fault = () => (random() < 0.05 ? (faults[Math.floor(random() * faults.length)] ?? 'none') : 'none');
        const place = { store: `s3://${server.bucket}/chaos`, workers: 2 };
        const job = newJob({ ...place, environment: { ...S3_CREDENTIALS, QUANTLOOM_S3_ENDPOINT: proxy.endpoint } });
        const history = [`seed ${SEED}`];
        const program = job.start();
        const targets: readonly Target[] = ['gpu', 'cpu', 'server', 'all workers', 'gpu', 'control', 'cpu'];
        for (const [index, target] of targets.entries()) {
          await job.untilComputed(((index + 0.5) / targets.length) * steps, program);
          await delay(random() * 700);
          history.push(`${target} after ${job.computed} steps (${job.kill(target, program)} killed)`);
        }
        const { code, stderr } = await program.ended;
        const story = history.join(', ');
        process.stderr.write(`${story}\n`);
        expect({ story, code, stderr }).toEqual({ story, code: 0, stderr });
        await expectDone(job, story);
        expect([...proxy.done.keys()]).toEqual(
          expect.arrayContaining(['cut', 'lost answer', 'broken answer', '503', '500']),
        );
        const { S3Bucket } = loadS3();
        const bucket = new S3Bucket({ bucket: server.bucket, prefix: 'chaos' }, server, 'StoreUnavailable');
        for await (const { name } of bucket.uploads('')) expect({ story, orphan: name }).toBeNull();
      } finally {
        await removeJobs();
        await proxy.stop();
        await server.stop();
      }
    },
    FIRST_START_MS + 360_000,
  );

  it('waits for review when its disk is full, with a clear message, and goes on when there is room', async () => {
    const disk = smallDisk();
    if (disk === null) {
      process.stderr.write('not tested: a full disk needs the right to mount, or prlimit\n');
      return;
    }
    try {
      const job = newJob({ store: disk.directory });
      const first = job.start();
      await job.untilComputed(steps / 4, first);
      disk.fill(job.processes(first, 'all workers').map(({ pid }) => pid));
      const { code, stderr, document } = await first.ended;
      expect({ code, stderr, document }).toMatchObject({ code: 3, document: { state: 'needs-review' } });
      const complaints = stderr.split('\n').filter((line) => line.includes('No room'));
      const complaint = /^model\.layers\.\d+ needs review: No room in \S+: \d+ bytes needed, \d+ bytes free \(E\w+\)/;
      expect(complaints).toEqual([expect.stringMatching(complaint)]);
      expect(complaints[0]).toContain(`No room in ${disk.directory}:`);

      disk.makeRoom();
      expect((await job.start().ended).code).toBe(0);
      await expectDone(job, 'full disk');
    } finally {
      await removeJobs();
      disk.remove();
    }
  }, 300_000);
});
