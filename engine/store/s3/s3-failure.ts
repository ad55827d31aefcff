import { QuantloomError } from '../../spec';

/** What a store that does not answer, and a source, are reported as. */
export type UnavailableCode = 'StoreUnavailable' | 'SourceUnavailable';

interface Asked {
  /** `s3://bucket/prefix`. */
  readonly location: string;
  readonly endpoint: string | undefined;
  readonly unavailable: UnavailableCode;
}

const NO_ROOM = new Set([
  'XMinioStorageFull',
  'XMinioAdminBucketQuotaExceeded',
  'QuotaExceeded',
  'InsufficientStorage',
]);
const WRONG_REGION = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);

/** Mistakes of a program: nothing that another try would mend. */
const OWN_FAULTS = new Set(['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError']);

/** HTTP status that an error of the SDK stands for; undefined where no answer came. */
export function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;
}

/** What an error of the SDK means, and what to do about it. What is none is returned as it is. */
export function s3Failure(error: unknown, { location, endpoint, unavailable }: Asked): unknown {
  // By shape: errors of the network may be of another realm.
  const { name, message } = (error ?? {}) as Error;
  if (QuantloomError.is(error) || message === undefined || OWN_FAULTS.has(name)) return error;
  const status = statusOf(error);
  const where = endpoint ?? 'Amazon';
  const said = `(${[status, name, message].filter(Boolean).join(' ').slice(0, 300)})`;
  const fail = (code: QuantloomError['code'], text: string, retryable = false) =>
    new QuantloomError(code, `${location} at ${where}: ${text} ${said}`, { retryable, cause: error });
  if (name === 'NoSuchBucket') {
    const text = 'there is no such bucket. Create it, or check the address, the endpoint and the region.';
    return fail(unavailable === 'SourceUnavailable' ? 'ModelNotFound' : unavailable, text);
  }
  if (WRONG_REGION.has(name) || status === 301)
    return fail(unavailable, "wrong region. Set AWS_REGION to the bucket's.");
  if (name === 'CredentialsProviderError' || name === 'TokenProviderError') {
    const text =
      'no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role.';
    return fail('AccessDenied', text);
  }
  if (status === 401 || status === 403) {
    return fail('AccessDenied', 'access is denied. Check the credentials, and what they may do in this bucket.');
  }
  if (status === 507 || NO_ROOM.has(name))
    return fail('StoreFull', 'no room. Free space there, or collect garbage.', true);
  const mayPass = status === undefined || status >= 500 || status === 429 || status === 408 || status === 409;
  return fail(unavailable, mayPass ? 'it cannot be reached, or does not answer as it should.' : 'refused.', mayPass);
}
