import { QuantloomError } from '../../spec';
import { type SourceAccess, STALL_MILLISECONDS } from '../remote/source-access';
import { StallLimit } from '../remote/stall-limit';
import { hubRefusal } from './hub-refusal';

export const PUBLIC_HUB = 'https://huggingface.co';

/** Failures of the network itself that another try does not mend. */
const FOR_GOOD = new Set([
  'redirect count exceeded',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

export function hubEndpoint({ hub }: SourceAccess): string {
  return (hub.endpoint ?? PUBLIC_HUB).replace(/\/+$/, '');
}

/**
 * `fetch` for one repository of the hub: silence, refusals, redirects without end and web pages in place of data become errors that
 * say what to do. A token goes to the hub only, never to where it redirects (fetch drops it at another origin).
 */
export function hubFetch(repository: string, access: SourceAccess, signal?: AbortSignal): typeof fetch {
  return async (input, init) => {
    const endpoint = hubEndpoint(access);
    const where = new URL(endpoint).host;
    const limit = new StallLimit(where, access.stallMilliseconds ?? STALL_MILLISECONDS, signal);
    let response: Response;
    try {
      response = await fetch(input, { ...init, headers: headersFor(input, endpoint, init), signal: limit.signal });
    } catch (error) {
      limit.end();
      throw signal?.aborted ? signal.reason : unreachable(error, repository, where);
    }
    if (!response.ok) {
      const refusal = await hubRefusal(response, { repository, endpoint, hasToken: access.hub.token !== undefined });
      limit.end();
      throw refusal;
    }
    if (response.headers.get('content-type')?.startsWith('text/html')) {
      limit.end();
      await response.body?.cancel();
      throw new QuantloomError(
        'SourceUnavailable',
        `${where} answered with a web page where data was expected. Is HF_ENDPOINT (${endpoint}) a hub, and does the network ask for a login?`,
      );
    }
    return new Response(response.body && heard(response.body, limit), response);
  };
}

/** A list's next page may be said to lie at another origin. */
function headersFor(input: Parameters<typeof fetch>[0], endpoint: string, init: RequestInit = {}): Headers {
  const headers = new Headers(init.headers);
  const address = input instanceof Request ? input.url : String(input);
  if (new URL(address).origin !== new URL(endpoint).origin) headers.delete('authorization');
  return headers;
}

/** The same stream under the limit. */
function heard(body: ReadableStream<Uint8Array>, limit: StallLimit): ReadableStream<Uint8Array> {
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        limit.heard();
        controller.enqueue(chunk);
      },
      flush: () => limit.end(),
    }),
    { signal: limit.signal },
  );
}

/** An error of fetch itself: the reason is in its cause. */
export function unreachable(error: unknown, repository: string, where: string): QuantloomError {
  if (QuantloomError.is(error)) return error;
  const { cause } = error as { cause?: { code?: string; message?: string } };
  const reason = cause?.code ?? cause?.message ?? (error as Error).message;
  const retryable = !FOR_GOOD.has(cause?.code ?? '') && !FOR_GOOD.has(cause?.message ?? '');
  const advice =
    cause?.message === 'redirect count exceeded'
      ? 'It redirects in a circle: is HF_ENDPOINT right?'
      : 'Is this machine online? HF_ENDPOINT names another address of the hub, or a mirror; a model can also be given as a directory.';
  return new QuantloomError(
    'SourceUnavailable',
    `hf:${repository}: ${where} cannot be reached (${reason}). ${advice}`,
    {
      retryable,
      cause: error,
    },
  );
}
