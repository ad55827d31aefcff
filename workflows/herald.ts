import { isCancellation, log, upsertMemo, workflowInfo } from '@temporalio/workflow';
import type { Notification, RequantizeRequest } from '../engine/spec';
import { toWebhook } from './activity-proxies';
import { rootFailure } from './fail-at-once';

/** Tells the webhook of a schedule what happens, where it has one. A webhook that fails is noted, and fails nothing. */
export class Herald {
  private told = 0;

  constructor(private readonly request: RequantizeRequest) {}

  async tell(event: Notification['event'], text: string): Promise<void> {
    const { webhook, spec } = this.request;
    if (webhook === undefined) return;
    const { workflowId, runId } = workflowInfo();
    const delivery = `${runId}-${this.told++}`;
    const notification = { event, model: spec.model, run: workflowId, text, delivery };
    try {
      await toWebhook(`tell: ${event}`).notify({ url: webhook, notification });
    } catch (error) {
      if (isCancellation(error)) throw error;
      const { message } = rootFailure(error);
      log.warn('webhook failed', { event, message });
      upsertMemo({ webhookFailed: `${event}: ${message}` });
    }
  }
}
