import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import {
  type JobResult,
  type LayerProgress,
  layerWorkflowId,
  PROGRESS_QUERY,
  type Progress,
  TASK_QUEUES,
} from '../engine/spec';
import { isWorkflowFailure } from './job-failure';
import type { ProgressDisplay } from './progress-display';
import type { Session } from './session';
import { queuesWithoutWorkers } from './task-queue-pollers';

export type JobOutcome =
  | { readonly kind: 'done'; readonly result: JobResult; readonly progress: Progress | null }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'needs-review'; readonly progress: Progress }
  | { readonly kind: 'interrupted' };

export interface FollowOptions {
  readonly session: Session;
  readonly handle: WorkflowHandle;
  readonly display: ProgressDisplay;
  readonly signal: AbortSignal;
}

const POLL_MS = 1_000;
const QUERY_LIMIT_MS = 5_000;
const WORKER_CHECK_MS = 15_000;

/** Shows a job's progress until it ends, needs review, or the user interrupts. Outages of server and workers are waited out. */
export async function followJob(options: FollowOptions): Promise<JobOutcome> {
  const { display } = options;
  const finished = new AbortController();
  const signal = AbortSignal.any([options.signal, finished.signal]);
  // The client adds a listener with every long poll, and none too many for a job of days.
  setMaxListeners(0, signal);
  try {
    return await Promise.race([ending(options, signal), review(options, signal), interruption(options.signal)]);
  } finally {
    finished.abort();
    display.end();
  }
}

/** Settles when the workflow ends; never when aborted. */
async function ending({ handle, session, display }: FollowOptions, signal: AbortSignal): Promise<JobOutcome> {
  while (!signal.aborted) {
    try {
      const result = (await session.client.connection.withAbortSignal(signal, () => handle.result())) as JobResult;
      const progress = await queryProgress(session, handle).catch(() => null);
      if (progress && !signal.aborted) display.show(progress);
      return { kind: 'done', result, progress };
    } catch (error) {
      if (isWorkflowFailure(error)) return { kind: 'failed', error };
      await delay(POLL_MS, undefined, { signal }).catch(() => {});
    }
  }
  return new Promise(() => {});
}

/** Polls the progress; settles when the job needs review. */
async function review({ handle, session, display }: FollowOptions, signal: AbortSignal): Promise<JobOutcome> {
  let warned = '';
  for (let nextCheck = 0; !signal.aborted; await delay(POLL_MS, undefined, { signal }).catch(() => {})) {
    try {
      const progress = await queryProgress(session, handle);
      if (signal.aborted) break;
      display.show(progress);
      if (progress.needsReview) return { kind: 'needs-review', progress };
    } catch {
      // The control worker or the server is being restarted.
    }
    if (Date.now() < nextCheck) continue;
    nextCheck = Date.now() + WORKER_CHECK_MS;
    const idle = await queuesWithoutWorkers(session).catch(() => []);
    const warning = idle.length === 0 ? '' : noWorkers(session, idle);
    if (warning !== '' && warning !== warned && !signal.aborted) display.note(warning);
    warned = warning;
  }
  return new Promise(() => {});
}

function interruption(signal: AbortSignal): Promise<JobOutcome> {
  return new Promise((resolve) => {
    const interrupted = () => resolve({ kind: 'interrupted' });
    if (signal.aborted) interrupted();
    else signal.addEventListener('abort', interrupted, { once: true });
  });
}

/** The job's progress, with the stage that each running layer is in. */
export async function queryProgress(session: Session, handle: WorkflowHandle): Promise<Progress> {
  const query = <T>(target: WorkflowHandle) =>
    session.client.connection.withDeadline(Date.now() + QUERY_LIMIT_MS, () => target.query<T>(PROGRESS_QUERY));
  const progress = await query<Progress>(handle);
  const layers = await Promise.all(
    progress.layers.map(async (layer) => {
      if (layer.state !== 'running') return layer;
      const child = session.client.workflow.getHandle(layerWorkflowId(handle.workflowId, layer.index));
      return query<LayerProgress>(child).catch(() => layer);
    }),
  );
  return {
    ...progress,
    layers: layers.map((layer, position) => newer(progress.layers[position] as LayerProgress, layer)),
  };
}

/** The child may already have ended, or be the one of an earlier run. */
function newer(parent: LayerProgress, child: LayerProgress): LayerProgress {
  return parent.state === 'running' && child.state === 'running'
    ? { ...child, index: parent.index, name: parent.name }
    : parent;
}

function noWorkers(session: Session, queues: readonly string[]): string {
  const names = Object.entries(TASK_QUEUES).filter(([, queue]) => queues.includes(queue));
  const commands = names.map(([name]) => `\`quantloom worker --queue ${name}\``).join(', ');
  return `no worker polls ${queues.join(', ')} at ${session.address}; the job waits until one does: start ${commands}`;
}
