import { type ErrorCode, QuantloomError } from '../spec';

/** What a thread throws instead of a QuantloomError: an Error loses its code on the way between threads. */
interface SentError {
  readonly sent: 'QuantloomError';
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly details: Record<string, unknown> | null;
  readonly cause: string | null;
}

/** For the thread that fails. */
export function sendableError(error: unknown): unknown {
  if (!QuantloomError.is(error)) return error;
  const { code, message, retryable, options } = error;
  const cause = options.cause === undefined ? null : String(options.cause);
  return { sent: 'QuantloomError', code, message, retryable, details: options.details ?? null, cause } as SentError;
}

/** For the thread that waits. */
export function receivedError(error: unknown): unknown {
  if ((error as Partial<SentError> | null)?.sent !== 'QuantloomError') return error;
  const { code, message, retryable, details, cause } = error as SentError;
  return new QuantloomError(code, message, {
    retryable,
    ...(details && { details }),
    ...(cause !== null && { cause: new Error(cause) }),
  });
}
