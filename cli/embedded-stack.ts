import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { SourceAccess } from '../engine/sources';
import { QuantloomError, type QueueName } from '../engine/spec';
import type { StorePlace } from '../engine/store';
import { parseShutdownGrace } from '../workers/limits';
import { devicesOfWorkers } from './devices-of-workers';
import { endLeftoverServer, launchServer, serverReady } from './embedded-server';
import { type LostWorkerWatch, watchForLostWorkers } from './lost-workers';
import { chooseStackPorts, readStackPorts, STACK_HOST, type StackPorts } from './stack-addresses';
import { acquireStackLock, type LockHolder, readLockHolder, type StackLock } from './stack-lock';
import { lastComplaint } from './stack-log';
import { type SupervisedProcess, superviseProcess } from './supervised-process';
import { isServing } from './temporal-client';
import { launchWorker, workerReady } from './worker-process';

export interface EmbeddedStackOptions {
  readonly home: string;
  readonly store: StorePlace;
  readonly sources: Pick<SourceAccess, 'models'>;
  readonly threads: number | null;
  /** Processes per queue. */
  readonly workers: Readonly<Record<QueueName, number>>;
  /** The command that starts it; `up` is meant to stay. */
  readonly purpose: string;
  /** Path of the Temporal CLI. Asked for only when a server has to be started. */
  readonly temporalBinary: () => Promise<string>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly note: (line: string) => void;
}

export interface EmbeddedStack {
  readonly address: string;
  readonly uiAddress: string;
  /** The process whose stack this is: null when it is our own. */
  readonly host: LockHolder | null;
  /** Ends everything that this process started. What another process started goes on. */
  stop(): Promise<void>;
}

const STOP_LIMIT_MS = 10_000;
/** As long as the server may take to start. */
const SERVER_START_LIMIT_SECONDS = 90;
const GUEST_POLL_MS = 500;
const GUEST_LIMIT_MS = 120_000;

/** File names under `home`. */
export function stackFiles(home: string): { lock: string; ports: string } {
  return { lock: join(home, 'stack.lock'), ports: join(home, 'stack.json') };
}

/**
 * Starts server and workers, or joins the ones that another process of this `home` runs; should that process end, its place is
 * taken: a stack of our own on the same database and addresses.
 *
 * @throws QuantloomError ServerUnavailable when the server or a worker does not start.
 */
export async function startEmbeddedStack(options: EmbeddedStackOptions): Promise<EmbeddedStack> {
  const files = stackFiles(options.home);
  for (const deadline = Date.now() + GUEST_LIMIT_MS; ; await delay(GUEST_POLL_MS)) {
    const lock = acquireStackLock(files.lock, options.purpose);
    if (lock) return startOwnStack(options, lock);
    const host = readLockHolder(files.lock);
    const ports = readStackPorts(files.ports);
    if (host && ports && (await isServing(addressOf(ports)))) return joinStack(options, host, ports);
    if (Date.now() > deadline) {
      throw new QuantloomError(
        'ServerUnavailable',
        `Process ${host?.pid} holds the stack in ${options.home}, but its server does not answer. End that process, or set another QUANTLOOM_HOME.`,
      );
    }
  }
}

async function startOwnStack(options: EmbeddedStackOptions, lock: StackLock): Promise<EmbeddedStack> {
  const { home, note } = options;
  const running: SupervisedProcess[] = [];
  let lostWorkers: LostWorkerWatch | undefined;
  const onEnd = () => lostWorkers?.alert();
  const grace = options.environment.QUANTLOOM_SHUTDOWN_GRACE;
  const graceMs = grace ? parseShutdownGrace(grace, 'QUANTLOOM_SHUTDOWN_GRACE') * 1000 : 0;
  const stop = async () => {
    await lostWorkers?.stop();
    const [server, ...workers] = running;
    await Promise.all(workers.map((worker) => worker.stop(STOP_LIMIT_MS + graceMs)));
    await server?.stop(STOP_LIMIT_MS);
    lock.release();
  };
  try {
    const binary = await options.temporalBinary();
    if (await endLeftoverServer(home)) note('ended a Temporal server that an earlier run had left behind');
    const ports = await chooseStackPorts(stackFiles(home).ports);
    const server = superviseProcess({
      name: 'the Temporal server',
      launch: () => launchServer({ home, binary, ports }),
      isReady: (child) => serverReady(ports, child),
      note,
      onEnd,
    });
    running.push(server);
    const serving = server.ready.catch((error: Error) => {
      throw unavailable(error, home, 'temporal');
    });
    const devices = devicesOfWorkers(options.environment);
    const workers = Object.entries(options.workers).flatMap(([queue, count]) =>
      Array.from({ length: count }, (_, index) => ({
        queue: queue as QueueName,
        logName: `worker-${queue}-${index + 1}`,
        device: queue === 'gpu' ? devices[index % devices.length] : 'cpu',
      })),
    );
    // Workers load while the server starts.
    const polling = workers.map(async ({ queue, logName, device }) => {
      const place = { address: addressOf(ports), namespace: 'default', serverWaitSeconds: SERVER_START_LIMIT_SECONDS };
      const worker = superviseProcess({
        name: `worker ${logName.slice('worker-'.length)}`,
        launch: () => launchWorker({ ...options, queue, logName, device, ...place }),
        isReady: workerReady,
        note,
        onEnd,
      });
      running.push(worker);
      await worker.ready.catch((error: Error) => {
        throw unavailable(error, home, logName);
      });
    });
    const allPolling = Promise.all(polling);
    allPolling.catch(() => undefined); // the server first: when it does not start, that is what there is to say
    await serving;
    await allPolling;
    lostWorkers = watchForLostWorkers(addressOf(ports));
    return { address: addressOf(ports), uiAddress: uiAddressOf(ports), host: null, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function joinStack(options: EmbeddedStackOptions, host: LockHolder, ports: StackPorts): EmbeddedStack {
  const leaving = new AbortController();
  let own: EmbeddedStack | null = null;
  const watch = async () => {
    while (!leaving.signal.aborted) {
      await delay(GUEST_POLL_MS, undefined, { signal: leaving.signal }).catch(() => {});
      if (leaving.signal.aborted) return;
      const lock = acquireStackLock(stackFiles(options.home).lock, options.purpose);
      if (!lock) continue;
      options.note(`process ${host.pid} (${host.purpose}) has ended; taking over its server and workers`);
      own = await startOwnStack(options, lock);
      return;
    }
  };
  const watching = watch().catch((error: Error) => options.note(`error: ${error.message}`));
  return {
    address: addressOf(ports),
    uiAddress: uiAddressOf(ports),
    get host() {
      return own ? null : host;
    },
    async stop() {
      leaving.abort();
      await watching;
      await own?.stop();
    },
  };
}

function unavailable(error: Error, home: string, log: string): QuantloomError {
  return new QuantloomError(
    'ServerUnavailable',
    `${error.message}. Its log is ${join(home, 'logs', `${log}.log`)} and says: ${lastComplaint(home, log)}`,
    { cause: error },
  );
}

function addressOf(ports: StackPorts): string {
  return `${STACK_HOST}:${ports.port}`;
}

function uiAddressOf(ports: StackPorts): string {
  return `http://${STACK_HOST}:${ports.uiPort}`;
}
