import { type ArtifactKind, type ArtifactRef, type DType, QuantloomError } from '../engine/spec';
import { computationKey } from './identity';
import type { ActivityRuntime, Attempt } from './runtime';
import { readSourceTensor } from './source-tensor';

/**
 * A computation whose result is kept: a pure function of its input, in which large values are artifact references.
 *
 * `version` is raised whenever the same input would give another result.
 */
export interface Step<Input, Output extends object> {
  readonly name: string;
  readonly version: number;
  run(input: Input, bench: Bench): Promise<Output>;
}

/** What a step works with. */
export interface Bench {
  readonly runtime: ActivityRuntime;
  readonly attempt: Attempt;
  /** The content of an artifact; one that is lost or damaged is recomputed first. */
  read(ref: ArtifactRef): Promise<Uint8Array>;
  readDocument<T>(ref: ArtifactRef): Promise<T>;
  write(
    kind: ArtifactKind,
    content: Uint8Array,
    form?: { dtype?: DType; shape?: readonly number[] },
  ): Promise<ArtifactRef>;
  writeDocument(value: unknown): Promise<ArtifactRef>;
  /** Makes sure that the store holds the artifact, undamaged as far as `use` notices, and calls `use`. */
  withArtifact<T>(ref: ArtifactRef, use: (sha256: string) => Promise<T>): Promise<T>;
}

/** How a result was had. */
export interface Effort {
  /** True when it was found in the store. */
  readonly cached: boolean;
  /** Seconds of computing; 0 when cached. */
  readonly seconds: number;
  /** Seconds that computing took when it was done, which finding it has saved; 0 when computed now. */
  readonly secondsSaved: number;
}

interface ComputationRecord {
  readonly step: string;
  readonly version: number;
  readonly input: unknown;
  readonly output: object;
  /** What computing took. Absent from records of early versions. */
  readonly seconds?: number;
}

/** Steps by name: what is needed to compute a lost artifact again from its record. */
const lineage = new Map<string, Step<never, object>>();

/** Makes a step known, so that its artifacts can be computed again when they are lost. */
export function defineStep<Input, Output extends object>(step: Step<Input, Output>): Step<Input, Output> {
  lineage.set(step.name, step as Step<never, object>);
  return step;
}

/**
 * Looks the result up and computes only what the store does not know (design: artifacts and resume).
 *
 * Gives idempotent retries, resume after a crash or the loss of Temporal's database, and memoization over runs.
 */
export async function perform<Input, Output extends object>(
  step: Step<Input, Output>,
  input: Input,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Output & Effort> {
  const key = computationKey(step.name, step.version, input);
  // An attempt that Temporal has given up, while the server was away say, may still compute here: its result will do.
  while (underWay.has(key)) await underWay.get(key)?.catch(() => undefined);
  const work = lookUpOrCompute(key, step, input, runtime, attempt);
  underWay.set(key, work);
  try {
    return await work;
  } finally {
    underWay.delete(key);
  }
}

/** Several steps as one: cached when every one was. */
export function together(efforts: readonly Effort[]): Effort {
  const sum = (of: (effort: Effort) => number) => efforts.reduce((total, effort) => total + of(effort), 0);
  return {
    cached: efforts.every(({ cached }) => cached),
    seconds: sum(({ seconds }) => seconds),
    secondsSaved: sum(({ secondsSaved }) => secondsSaved),
  };
}

/** Computations of this process, by key. */
const underWay = new Map<string, Promise<object>>();

async function lookUpOrCompute<Input, Output extends object>(
  key: string,
  step: Step<Input, Output>,
  input: Input,
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Output & Effort> {
  const known = (await runtime.store.recall(key)) as ComputationRecord | null;
  if (known !== null) {
    runtime.log('cached', { step: step.name, key });
    return { ...(known.output as Output), cached: true, seconds: 0, secondsSaved: known.seconds ?? 0 };
  }
  const started = performance.now();
  const output = await step.run(input, benchFor(key, runtime, attempt));
  const seconds = (performance.now() - started) / 1000;
  // Also when the attempt was cancelled meanwhile: what is finished is never computed again.
  const record: ComputationRecord = { step: step.name, version: step.version, input, output, seconds };
  const stored = await runtime.store.record(key, record);
  runtime.log(stored === 'stored' ? 'computed' : 'computed-twice', { step: step.name, key, seconds });
  return { ...output, cached: false, seconds, secondsSaved: 0 };
}

function benchFor(key: string, runtime: ActivityRuntime, attempt: Attempt): Bench {
  const bench: Bench = {
    runtime,
    attempt,
    read: (ref) => (ref.at ? readSourceTensor(ref) : bench.withArtifact(ref, (sha256) => runtime.store.get(sha256))),
    readDocument: async (ref) => JSON.parse(Buffer.from(await bench.read(ref)).toString('utf8')),
    write: async (kind, content, form = {}) => ({
      kind,
      sha256: await runtime.store.put(content, { durable: kind !== 'activation' }),
      bytes: content.byteLength,
      ...form,
      from: key,
    }),
    writeDocument: (value) => bench.write('document', Buffer.from(JSON.stringify(value))),
    withArtifact: async (ref, use) => {
      try {
        return await use(ref.sha256);
      } catch (error) {
        if (!isLost(error)) throw error;
        await recompute(ref, runtime, attempt, error);
        return use(ref.sha256);
      }
    },
  };
  return bench;
}

function isLost(error: unknown): boolean {
  return QuantloomError.is(error) && (error.code === 'ArtifactMissing' || error.code === 'ArtifactCorrupt');
}

/** Runs the computation again that produced a lost artifact; its inputs, if they are lost too, come back in the same way. */
async function recompute(ref: ArtifactRef, runtime: ActivityRuntime, attempt: Attempt, loss: unknown): Promise<void> {
  const record = ref.from ? ((await runtime.store.recall(ref.from)) as ComputationRecord | null) : null;
  const step = record ? lineage.get(record.step) : undefined;
  if (!ref.from || !record || !step || step.version !== record.version) throw loss;
  runtime.log('recomputing', { step: record.step, key: ref.from, lost: ref.sha256, reason: String(loss) });
  await step.run(record.input as never, benchFor(ref.from, runtime, attempt));
  if (await runtime.store.has(ref.sha256)) return;
  throw new QuantloomError(
    'ArtifactMissing',
    `Artifact ${ref.sha256} (${ref.kind}) was lost, and computing it again with ${record.step} gave other bytes: ` +
      'the machine or a library is not the one that made it. Cancel the job and start it again.',
    { cause: loss },
  );
}

/** A bench for reading outside of a step: what inspection and assembly need. */
export function readingBench(
  runtime: ActivityRuntime,
  attempt: Attempt,
): Pick<Bench, 'read' | 'readDocument' | 'withArtifact'> {
  return benchFor('', runtime, attempt);
}
