import { createHmac } from 'node:crypto';
import { type Notification, QuantloomError } from '../spec';
import { slackMessage } from './slack-message';

export interface PostOptions {
  /** Signs the message; null: it goes unsigned. */
  readonly secret: string | null;
  readonly signal?: AbortSignal;
}

const ANSWER_MILLISECONDS = 10_000;

/** Answers after which trying again may help, beside those from 500 on: too slow, too early, too many. */
const PASSING: readonly number[] = [408, 425, 429];

/**
 * Posts a notification as Slack's JSON. Headers: `X-Quantloom-Event`; `X-Quantloom-Delivery`, the same in every attempt; and with a secret
 * `X-Quantloom-Timestamp` and `X-Quantloom-Signature` (signWebhook). Redirects are not followed.
 *
 * @throws QuantloomError WebhookFailed naming the host only, since addresses of webhooks are secrets themselves; retryable unless the
 * answer says that this message is not wanted.
 */
export async function postWebhook(url: string, notification: Notification, options: PostOptions): Promise<void> {
  const { host } = new URL(url);
  const body = JSON.stringify(slackMessage(notification));
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = options.secret === null ? null : signWebhook(options.secret, timestamp, body);
  const limit = AbortSignal.timeout(ANSWER_MILLISECONDS);
  const response = await fetch(url, {
    method: 'POST',
    redirect: 'manual',
    signal: options.signal ? AbortSignal.any([options.signal, limit]) : limit,
    headers: {
      'content-type': 'application/json',
      'x-quantloom-event': notification.event,
      'x-quantloom-delivery': notification.delivery,
      ...(signature && { 'x-quantloom-timestamp': timestamp, 'x-quantloom-signature': signature }),
    },
    body,
  }).catch((error: Error) => {
    if (options.signal?.aborted) throw error;
    const why = limit.aborted ? `did not answer within ${ANSWER_MILLISECONDS / 1000} s` : 'cannot be reached';
    throw new QuantloomError('WebhookFailed', `The webhook at ${host} ${why}.`, { retryable: true });
  });
  await response.body?.cancel();
  if (response.ok) return;
  const retryable = response.status >= 500 || PASSING.includes(response.status);
  throw new QuantloomError('WebhookFailed', `The webhook at ${host} answered with status ${response.status}.`, {
    retryable,
  });
}

/**
 * `v0=` and the hexadecimal HMAC-SHA256 of `v0:<timestamp>:<body>`, as Slack signs its own requests.
 *
 * @param timestamp seconds since 1970: receivers refuse old ones, so that nothing can be replayed.
 */
export function signWebhook(secret: string, timestamp: string, body: string): string {
  return `v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}`;
}
