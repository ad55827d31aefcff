import { InferenceSession } from 'onnxruntime-node';
import { CPU, type ExecutionProvider } from '../devices/device';

export interface SessionOptions {
  /** Threads of one operator. */
  readonly threads: number;
  /** Of the device (engine/devices), best first. Default: the CPU's. */
  readonly executionProviders?: readonly ExecutionProvider[];
}

/**
 * Sessions of this process (or worker thread), by graph, least recently used first. Weights are inputs, so a handful serves every layer of every
 * model of a shape; a worker that sees many shapes lets go of the oldest.
 */
const sessions = new Map<string, Promise<InferenceSession>>();

/** Several models at once; each keeps up to a MiB. */
export const MOST_SESSIONS = 64;

/**
 * Lets go of all sessions of this process (or thread), and of the memory that each keeps on its device for its next run. Nobody may be using one.
 * They come back when they are asked for.
 */
export async function releaseSessions(): Promise<void> {
  const released = [...sessions.values()];
  sessions.clear();
  for (const session of released) {
    await session.then(
      (there) => there.release(),
      () => undefined,
    );
  }
}

/** The session of the graph that `build` writes; `key` names the graph. */
export function sessionFor(key: string, options: SessionOptions, build: () => Uint8Array): Promise<InferenceSession> {
  const executionProviders = [...(options.executionProviders ?? CPU.executionProviders)];
  const fullKey = JSON.stringify([key, options.threads, executionProviders]);
  let session = sessions.get(fullKey);
  if (session !== undefined) {
    sessions.delete(fullKey);
    sessions.set(fullKey, session);
  } else {
    session = InferenceSession.create(build(), {
      executionProviders,
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      // Each session would keep an arena of its own for good: twice the memory, and no faster.
      enableCpuMemArena: false,
      enableMemPattern: false,
      // Threads that wait by spinning take the cores from other workers of the machine.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
      logSeverityLevel: 3,
    });
    session.catch(() => sessions.delete(fullKey));
    sessions.set(fullKey, session);
    if (sessions.size > MOST_SESSIONS) releaseOldest();
  }
  return session;
}

function releaseOldest(): void {
  const [oldest] = sessions;
  const [key, session] = oldest as [string, Promise<InferenceSession>];
  sessions.delete(key);
  session.then(
    (there) => there.release(),
    () => undefined,
  );
}
