import type { Client, WorkflowHandle } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { layerWorkflowId } from '../engine/spec';

type HistoryEvent = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>[number];
type Failure = NonNullable<NonNullable<HistoryEvent['workflowExecutionFailedEventAttributes']>['failure']>;

/** One thing that happened in a job. */
export interface JobEvent {
  /** ISO 8601. */
  readonly time: string;
  /** Null: the job itself. */
  readonly layer: number | null;
  /** The activity, the update, or `job` / `layer`. */
  readonly what: string;
  readonly event: string;
  readonly attempt: number | null;
  readonly error: string | null;
}

/** The history of a job and of the layers it has started, by time. */
export async function jobEvents(client: Client, id: string): Promise<JobEvent[]> {
  const events = await historyOf(client, id);
  const layers = new Set<number>();
  for (const event of events) {
    const child = event.childWorkflowExecutionStartedEventAttributes?.workflowExecution?.workflowId;
    const layer = /\/layer-(\d+)$/.exec(child ?? '')?.[1];
    if (layer !== undefined) layers.add(Number(layer));
  }
  const found = readEvents(events, null);
  for (const layer of layers) {
    found.push(...readEvents(await historyOf(client, layerWorkflowId(id, layer)).catch(() => []), layer));
  }
  return found.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
}

async function historyOf(client: Client, id: string): Promise<HistoryEvent[]> {
  return (await client.workflow.getHandle(id).fetchHistory()).events ?? [];
}

function readEvents(events: readonly HistoryEvent[], layer: number | null): JobEvent[] {
  const names = new Map<string, string>();
  const attempts = new Map<string, number>();
  const found: JobEvent[] = [];
  for (const event of events) {
    const started = event.activityTaskStartedEventAttributes;
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) names.set(String(event.eventId), summaryOf(event) ?? scheduled.activityType?.name ?? 'activity');
    if (started) attempts.set(String(started.scheduledEventId), started.attempt ?? 1);
    const entry = describe(event, layer === null ? 'job' : 'layer');
    if (!entry) continue;
    const activity = entry.scheduledEventId === undefined ? undefined : String(entry.scheduledEventId);
    found.push({
      time: timeOf(event),
      layer,
      what: (activity && names.get(activity)) ?? entry.what,
      event: entry.event,
      attempt: (activity && attempts.get(activity)) || null,
      error: entry.failure ? innermost(entry.failure) : null,
    });
  }
  return found;
}

interface Description {
  readonly what: string;
  readonly event: string;
  readonly scheduledEventId?: unknown;
  readonly failure?: Failure | null;
}

function describe(event: HistoryEvent, self: string): Description | null {
  const completed = event.activityTaskCompletedEventAttributes;
  if (completed) return { what: 'activity', event: 'done', scheduledEventId: completed.scheduledEventId };
  const failed = event.activityTaskFailedEventAttributes;
  if (failed)
    return { what: 'activity', event: 'failed', scheduledEventId: failed.scheduledEventId, failure: failed.failure };
  const timedOut = event.activityTaskTimedOutEventAttributes;
  if (timedOut) {
    return {
      what: 'activity',
      event: 'timed out',
      scheduledEventId: timedOut.scheduledEventId,
      failure: timedOut.failure,
    };
  }
  const canceled = event.activityTaskCanceledEventAttributes;
  if (canceled) return { what: 'activity', event: 'cancelled', scheduledEventId: canceled.scheduledEventId };
  const update = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input?.name;
  if (update) return { what: 'operator:', event: update };
  if (event.workflowExecutionStartedEventAttributes) return { what: self, event: 'started' };
  if (event.workflowExecutionCompletedEventAttributes) return { what: self, event: 'done' };
  if (event.workflowExecutionCanceledEventAttributes) return { what: self, event: 'cancelled' };
  if (event.workflowExecutionTerminatedEventAttributes) return { what: self, event: 'terminated' };
  if (event.workflowExecutionContinuedAsNewEventAttributes) return { what: self, event: 'continued as new' };
  const failure = event.workflowExecutionFailedEventAttributes?.failure;
  if (failure) return { what: self, event: 'failed', failure };
  const taskFailure = event.workflowTaskFailedEventAttributes?.failure;
  if (taskFailure) return { what: 'workflow task', event: 'failed', failure: taskFailure };
  return null;
}

function innermost(failure: Failure): string {
  return failure.cause ? innermost(failure.cause) : (failure.message ?? '');
}

function summaryOf(event: HistoryEvent): string | undefined {
  const payload = event.userMetadata?.summary;
  return payload ? defaultPayloadConverter.fromPayload<string>(payload as never) : undefined;
}

function timeOf(event: HistoryEvent): string {
  const { seconds, nanos } = event.eventTime ?? {};
  return new Date(Number(seconds ?? 0) * 1000 + Math.floor((nanos ?? 0) / 1e6)).toISOString();
}
