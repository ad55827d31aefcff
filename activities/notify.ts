import { postWebhook } from '../engine/notifications';
import type { Notification } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';

/** Tells a webhook. @throws QuantloomError WebhookFailed. */
export async function notify(
  { url, notification }: { url: string; notification: Notification },
  { webhookSecret = null }: ActivityRuntime,
  { signal }: Attempt,
): Promise<void> {
  await postWebhook(url, notification, { secret: webhookSecret, signal });
}
