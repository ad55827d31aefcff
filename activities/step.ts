import { leaveGarbage } from '../engine/memory';
import {
  type ArtifactKind,
  type ArtifactRef,
  DTYPE_BITS,
  type DType,
  elementCount,
  QuantloomError,
} from '../engine/spec';
import type { ArtifactStore, ArtifactWriter } from '../engine/store';
import { canonicalJson, computationKey } from './identity';
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
  /** The same in the memory that is given, as long as the artifact. */
  readInto(ref: ArtifactRef, memory: ArrayBufferLike): Promise<Uint8Array>;
  readDocument<T>(ref: ArtifactRef): Promise<T>;
  write(
    kind: ArtifactKind,
    content: Uint8Array,
    form?: { dtype?: DType; shape?: readonly number[] },
  ): Promise<ArtifactRef>;
  writeDocument(value: unknown): Promise<ArtifactRef>;
  /** An artifact that is written piece by piece. */
  create(kind: ArtifactKind, form?: { dtype?: DType; shape?: readonly number[] }): Promise<ArtifactWriting>;
  /** Seconds of this step that one part of it took, for the log; parts that overlap others are not told. */
  spend(part: string, seconds: number): void;
  /** Calls `use`; when that finds one of the artifacts lost or damaged, the artifact is computed again, and `use` called again. */
  withArtifacts<T>(refs: readonly ArtifactRef[], use: () => Promise<T>): Promise<T>;
}

export interface ArtifactWriting extends Omit<ArtifactWriter, 'commit'> {
  commit(): Promise<ArtifactRef>;
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
    await keepPlaces(key, known, input, runtime);
    return { ...(known.output as Output), cached: true, seconds: 0, secondsSaved: known.seconds ?? 0 };
  }
  const started = performance.now();
  const spent: Spent = { parts: {}, bytes: 0 };
  const output = await step.run(input, benchFor(key, runtime, attempt, spent));
  leaveGarbage(spent.bytes);
  const seconds = (performance.now() - started) / 1000;
  // Also when the attempt was cancelled meanwhile: what is finished is never computed again.
  const record: ComputationRecord = { step: step.name, version: step.version, input, output, seconds };
  const stored = await runtime.store.record(key, record);
  runtime.log(stored === 'stored' ? 'computed' : 'computed-twice', {
    step: step.name,
    key,
    seconds,
    parts: spent.parts,
  });
  return { ...output, cached: false, seconds, secondsSaved: 0 };
}

/**
 * The record of a computation that was found says where its sources lay when it was made. Keys do not: a model that was copied or moved since has the
 * same ones. What is lost has to be computed again from where it lies now.
 */
async function keepPlaces(
  key: string,
  known: ComputationRecord,
  input: unknown,
  { store }: ActivityRuntime,
): Promise<void> {
  if (placesIn(input) === placesIn(known.input)) return;
  await store.forget(key);
  await store.record(key, { ...known, input });
}

/** Where all sources in the input of a step lie, whatever order they stand in. */
function placesIn(input: unknown): string {
  const places: string[] = [];
  JSON.stringify(input, (name, part: unknown) => {
    if (name === 'at') places.push(canonicalJson(part));
    return part;
  });
  return places.sort().join();
}

/** What a step took. */
interface Spent {
  /** Seconds. */
  readonly parts: Record<string, number>;
  /** Of artifacts that had memory of their own. */
  bytes: number;
}

function benchFor(
  key: string,
  runtime: ActivityRuntime,
  attempt: Attempt,
  spent: Spent = { parts: {}, bytes: 0 },
): Bench {
  const timed = async <T>(work: Promise<T>): Promise<T> => {
    const began = performance.now();
    try {
      return await work;
    } finally {
      bench.spend('store', (performance.now() - began) / 1000);
    }
  };
  const bench: Bench = {
    runtime,
    attempt,
    read: (ref) => {
      spent.bytes += ref.bytes;
      return ref.at ? readSourceTensor(ref) : bench.withArtifacts([ref], () => timed(runtime.store.get(ref.sha256)));
    },
    readInto: async (ref, memory) => {
      const content = new Uint8Array(memory, 0, ref.bytes);
      if (ref.at) return readSourceTensor(ref, content);
      await bench.withArtifacts([ref], () => timed(readWhole(runtime.store, ref.sha256, content)));
      return content;
    },
    readDocument: async (ref) => JSON.parse(Buffer.from(await bench.read(ref)).toString('utf8')),
    write: async (kind, content, form = {}) => {
      spent.bytes += content.byteLength;
      const sha256 = await timed(runtime.store.put(content, { durable: isDurable(kind) }));
      return { kind, sha256, bytes: content.byteLength, ...form, from: key };
    },
    writeDocument: (value) => bench.write('document', Buffer.from(JSON.stringify(value))),
    create: async (kind, form = {}) => {
      const { dtype, shape } = form;
      const expected = dtype && shape ? (elementCount(shape) * DTYPE_BITS[dtype]) / 8 : 0;
      const writer = await runtime.store.create({ durable: isDurable(kind), bytes: expected });
      let bytes = 0;
      return {
        write: (content) => {
          bytes += content.byteLength;
          return writer.write(content);
        },
        commit: async () => ({ kind, sha256: await timed(writer.commit()), bytes, ...form, from: key }),
        close: () => writer.close(),
      };
    },
    spend: (part, seconds) => {
      spent.parts[part] = (spent.parts[part] ?? 0) + seconds;
    },
    withArtifacts: async (refs, use) => {
      for (const times = new Map<ArtifactRef, number>(); ; ) {
        try {
          return await use();
        } catch (error) {
          const lost = lostArtifact(error);
          const ref = refs.find(({ sha256 }) => sha256 === lost);
          if (!ref) throw error;
          const recomputed = times.get(ref) ?? 0;
          if (recomputed === MOST_LOSSES) throw lostAgain(ref, error);
          await recompute(ref, runtime, attempt, error);
          times.set(ref, recomputed + 1);
        }
      }
    },
  };
  return bench;
}

async function readWhole(store: ArtifactStore, sha256: string, content: Uint8Array): Promise<void> {
  const reader = await store.open(sha256);
  try {
    await reader.read(content);
    await reader.finish();
  } finally {
    await reader.close();
  }
}

/** What is dropped soon, and computed again from its record when it is lost before, is not worth an fsync. */
function isDurable(kind: ArtifactKind): boolean {
  return kind !== 'activation' && kind !== 'gram';
}

/** SHA-256 of the artifact that an error says is lost. */
function lostArtifact(error: unknown): unknown {
  if (!QuantloomError.is(error)) return null;
  if (error.code === 'ArtifactMissing') return error.options.details?.sha256;
  if (error.code === 'ArtifactCorrupt') return error.options.details?.expected;
  return null;
}

/**
 * How often an artifact may be lost while somebody waits for it. Another layer may drop it just when it is there again: activations of the
 * original model are the same whoever computes them, to choose widths or to make up for mismatches.
 */
const MOST_LOSSES = 5;

function lostAgain({ sha256, kind }: ArtifactRef, cause: unknown): QuantloomError {
  return new QuantloomError(
    'ArtifactMissing',
    `Artifact ${sha256} (${kind}) was computed again ${MOST_LOSSES} times, and lost every time before it could be read. ` +
      'Check that nobody else clears the store, and that its disk is sound.',
    { cause, retryable: true, details: { sha256 } },
  );
}

/** Runs the computation again that produced a lost artifact; its inputs, if they are lost too, come back in the same way. */
async function recompute(ref: ArtifactRef, runtime: ActivityRuntime, attempt: Attempt, loss: unknown): Promise<void> {
  const record = ref.from ? ((await runtime.store.recall(ref.from)) as ComputationRecord | null) : null;
  const step = record ? lineage.get(record.step) : undefined;
  if (!ref.from || !record || !step || step.version !== record.version) throw loss;
  runtime.log('recomputing', { step: record.step, key: ref.from, lost: ref.sha256, reason: String(loss) });
  const output = await step.run(record.input as never, benchFor(ref.from, runtime, attempt));
  if (JSON.stringify(output).includes(ref.sha256)) return;
  throw new QuantloomError(
    'ArtifactMissing',
    `Artifact ${ref.sha256} (${ref.kind}) was lost, and computing it again with ${record.step} gave other bytes: ` +
      'the machine or a library is not the one that made it. Cancel the job and start it again.',
    { cause: loss },
  );
}

/** Computes artifacts again that the store has lost. */
export async function restore(refs: readonly ArtifactRef[], runtime: ActivityRuntime, attempt: Attempt): Promise<void> {
  const bench = readingBench(runtime, attempt);
  for (const ref of refs) {
    await bench.withArtifacts([ref], async () => (await runtime.store.open(ref.sha256)).close());
  }
}

/** A bench for reading outside of a step: what inspection and assembly need. */
export function readingBench(
  runtime: ActivityRuntime,
  attempt: Attempt,
): Pick<Bench, 'read' | 'readDocument' | 'withArtifacts'> {
  return benchFor('', runtime, attempt);
}
