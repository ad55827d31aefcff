import { QuantloomError } from '../../spec';

interface Asked {
  readonly repository: string;
  readonly endpoint: string;
  readonly hasToken: boolean;
}

/** What a status that is no success means, and what to do about it. */
export async function hubRefusal(response: Response, asked: Asked): Promise<QuantloomError> {
  const { repository, endpoint, hasToken } = asked;
  const { status, headers } = response;
  const said = (headers.get('x-error-message') ?? (await messageOf(response))).replace(/\s+/g, ' ').slice(0, 300);
  const page = `${endpoint}/${repository}`;
  const quoted = said && ` The hub says: ${said}`;
  // The hub tells gated models by this header, also with 401.
  const code = headers.get('x-error-code');
  if (code === 'GatedRepo' || (status === 403 && hasToken)) {
    const key = hasToken ? 'The account of HF_TOKEN has no access' : 'Then set HF_TOKEN to a token of that account';
    return denied(`${repository} is gated or private: accept its terms at ${page} with your account. ${key}.${quoted}`);
  }
  if (status === 401 || status === 403) {
    return denied(
      hasToken
        ? `The hub does not take HF_TOKEN for ${repository}: is it valid, and may it read ${page}?${quoted}`
        : `The hub asks for a login to read ${repository}: it is private, gated, or does not exist. See ${page}; ` +
            `when it asks for it, accept its terms there, and set HF_TOKEN to a token of your account.${quoted}`,
    );
  }
  if (status === 404) {
    const what = code === 'RevisionNotFound' ? `${repository} has no such revision` : `There is no ${repository}`;
    return new QuantloomError('ModelNotFound', `${what} at ${endpoint} (${new URL(response.url).pathname}).${quoted}`);
  }
  const retryable = status === 429 || status === 408 || status >= 500;
  return new QuantloomError('SourceUnavailable', `${new URL(endpoint).host} answered with status ${status}.${quoted}`, {
    retryable,
  });

  function denied(message: string): QuantloomError {
    return new QuantloomError('AccessDenied', message, { details: { repository, status } });
  }
}

/** Of a JSON body; web pages say nothing. */
async function messageOf(response: Response): Promise<string> {
  if (!response.headers.get('content-type')?.startsWith('application/json')) {
    await response.body?.cancel();
    return '';
  }
  const body = (await response.json().catch(() => null)) as { error?: unknown } | null;
  return typeof body?.error === 'string' ? body.error : '';
}
