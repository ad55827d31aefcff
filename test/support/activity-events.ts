import type { WorkflowHandle } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';

/** An activity in a workflow's history. */
export interface ActivityEvent {
  readonly type: string;
  /** What Temporal's UI shows. */
  readonly summary: string;
  readonly completed: boolean;
}

/** The activities that a workflow has scheduled, in order, and whether it had nothing left to decide when asked. */
export async function activityEvents(
  handle: Pick<WorkflowHandle, 'fetchHistory'>,
): Promise<{ activities: ActivityEvent[]; idle: boolean }> {
  const events = (await handle.fetchHistory()).events ?? [];
  const completed = new Set(
    events.map((event) => String(event.activityTaskCompletedEventAttributes?.scheduledEventId ?? '')),
  );
  const activities = events.flatMap((event) => {
    const scheduled = event.activityTaskScheduledEventAttributes;
    const summary = event.userMetadata?.summary;
    return scheduled
      ? [
          {
            type: scheduled.activityType?.name ?? '',
            summary: summary ? defaultPayloadConverter.fromPayload<string>(summary as never) : '',
            completed: completed.has(String(event.eventId)),
          },
        ]
      : [];
  });
  return { activities, idle: Boolean(events.at(-1)?.workflowTaskCompletedEventAttributes) };
}
