import { InferenceSession } from 'onnxruntime-node';
import { CPU, type ExecutionProvider } from '../devices/device';

export interface SessionOptions {
  /** Threads of one operator. */
  readonly threads: number;
  /** Of the device (engine/devices), best first. Default: the CPU's. */
  readonly executionProviders?: readonly ExecutionProvider[];
}

/**
 * Sessions of this process (or worker thread), by graph. They are kept for good: creating and releasing them leaks natively
 * (microsoft/onnxruntime#25325), while weights are inputs, so that a handful serves every layer of every model of a shape.
 */
const sessions = new Map<string, Promise<InferenceSession>>();

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
  if (session === undefined) {
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
  }
  return session;
}
