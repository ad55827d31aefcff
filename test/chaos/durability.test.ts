import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning } from '../../cli/process-identity';
import { manifestOf, type Outcome, outcomeOf, repeatedWork } from '../support/job-outcome';
import { ProgramJob, type ProgramJobOptions, type Target } from '../support/program-job';
import { seededRandom } from '../support/random-moments';

/** How many jobs are killed: QUANTLOOM_CHAOS_JOBS=50 for a soak. QUANTLOOM_CHAOS_SEED repeats the job whose seed was printed. */
const JOBS = Number(process.env.QUANTLOOM_CHAOS_JOBS ?? 1);
const SEED = Number(process.env.QUANTLOOM_CHAOS_SEED ?? Date.now() % 1_000_000);
const TARGETS: readonly Target[] = ['gpu', 'cpu', 'control', 'all workers', 'server', 'everything'];
const MINUTES = 60_000;

describe('a job', () => {
  const jobs: ProgramJob[] = [];
  let undisturbed: Outcome;
  let steps: number;

  function newJob(options?: ProgramJobOptions): ProgramJob {
    const job = new ProgramJob(options);
    jobs.push(job);
    return job;
  }

  async function expectDone(job: ProgramJob, story: string): Promise<void> {
    expect({ story, ...(await outcomeOf(job.output)) }).toEqual({ story, ...undisturbed });
    expect({ story, repeated: repeatedWork(job) }).toEqual({ story, repeated: [] });
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
  }, 3 * MINUTES);

  afterEach(removeJobs, MINUTES);

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
    6 * MINUTES,
  );

  it(
    "goes on from the store when Temporal's database is gone",
    async () => {
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
      expect(document?.cached).toBeGreaterThan(steps / 3);
    },
    5 * MINUTES,
  );

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'stops in order at %s, and the same command goes on with it',
    async (signal) => {
      const job = newJob();
      const first = job.start();
      await job.untilComputed(steps / 3, first);
      const children = job.processes(first);
      expect(children.length).toBeGreaterThanOrEqual(5);
      process.kill(first.pid, signal);
      const { code, document } = await first.ended;
      expect(children.filter(isRunning)).toEqual([]);
      expect({ code, document }).toMatchObject({ code: 130, document: { state: 'interrupted', goesOn: false } });

      expect((await job.start().ended).code).toBe(0);
      await expectDone(job, signal);
    },
    5 * MINUTES,
  );

  it(
    'gives the same bytes with three workers of each kind',
    async () => {
      const job = newJob({ workers: 3 });
      expect((await job.start().ended).code).toBe(0);
      await expectDone(job, 'three workers');
      const calibrating = job.log().filter(({ event, step }) => event === 'computed' && step === 'calibrate-slice');
      expect(new Set(calibrating.map(({ pid }) => pid)).size).toBeGreaterThan(1);
    },
    3 * MINUTES,
  );
});
