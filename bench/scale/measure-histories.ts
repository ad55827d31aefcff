import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';

/** The longest of something among the workflows of a job. */
export interface HistorySizes {
  readonly workflows: number;
  readonly runs: number;
  readonly events: number;
  readonly bytes: number;
  /** Of one run. */
  readonly mostEvents: number;
  readonly mostBytes: number;
  /** Of one event, as it is stored. */
  readonly largestEventBytes: number;
  /** Activities, and children, that one run had under way at a time. */
  readonly mostPendingActivities: number;
}

/** Reads every history of a job from the server, through all its runs. */
export async function measureHistories(client: Client, jobId: string): Promise<HistorySizes> {
  const sizes = { workflows: 0, runs: 0, events: 0, bytes: 0, mostEvents: 0, mostBytes: 0, largestEventBytes: 0 };
  let mostPendingActivities = 0;
  const ids = new Set<string>();
  const { HistoryEvent } = temporal.api.history.v1;
  for await (const { workflowId, runId } of client.workflow.list({
    query: `WorkflowId = '${jobId}' OR WorkflowId STARTS_WITH '${jobId}/'`,
  })) {
    ids.add(workflowId);
    const events = await historyOf(client, { workflowId, runId });
    let bytes = 0;
    const pending = new Set<string>();
    for (const event of events) {
      const length = HistoryEvent.encode(event).finish().length;
      bytes += length;
      sizes.largestEventBytes = Math.max(sizes.largestEventBytes, length);
      if (event.activityTaskScheduledEventAttributes) pending.add(String(event.eventId));
      const ended = event.activityTaskCompletedEventAttributes ?? event.activityTaskFailedEventAttributes;
      if (ended) pending.delete(String(ended.scheduledEventId));
      mostPendingActivities = Math.max(mostPendingActivities, pending.size);
    }
    const count = events.length;
    sizes.runs += 1;
    sizes.events += count;
    sizes.bytes += bytes;
    sizes.mostEvents = Math.max(sizes.mostEvents, count);
    sizes.mostBytes = Math.max(sizes.mostBytes, bytes);
  }
  return { ...sizes, workflows: ids.size, mostPendingActivities };
}

/** Events of one answer: what the server puts into one by itself may be more than a client takes. */
const EVENTS_AT_ONCE = 4;

async function historyOf(client: Client, execution: { readonly workflowId: string; readonly runId: string }) {
  const events: temporal.api.history.v1.IHistoryEvent[] = [];
  let nextPageToken: Uint8Array | null | undefined;
  do {
    const page = await client.workflowService.getWorkflowExecutionHistory({
      ...{ namespace: client.options.namespace, execution, maximumPageSize: EVENTS_AT_ONCE },
      ...(nextPageToken && { nextPageToken }),
    });
    events.push(...(page.history?.events ?? []));
    nextPageToken = page.nextPageToken;
  } while (nextPageToken?.length);
  return events;
}
