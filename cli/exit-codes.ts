import { ERROR_CODES, QuantloomError } from '../engine/spec';

/** What the process answers to its caller. */
export const EXIT = { done: 0, failed: 1, wrongUse: 2, needsReview: 3, interrupted: 130 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The exit code that an error leads to: the one of its stable code, or 1. */
export function exitCodeOf(error: unknown): ExitCode {
  return QuantloomError.is(error) ? ERROR_CODES[error.code] : EXIT.failed;
}
