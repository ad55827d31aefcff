/**
 * An error that a user can act on: what was wrong, where, the limit, what to do next.
 *
 * `code` is stable and machine-readable; it becomes the failure type of a Temporal activity. `retryable` says whether trying the
 * same thing again may help (a full disk, a lost worker) or never will (a bad header).
 */
export class QuantloomError extends Error {
  override readonly name = 'QuantloomError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly options: { retryable?: boolean; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, { cause: options.cause });
  }

  get retryable(): boolean {
    return this.options.retryable ?? false;
  }

  /** Guard by shape, so that it holds across realms and duplicate module instances. */
  static is(value: unknown): value is QuantloomError {
    return value instanceof Error && value.name === 'QuantloomError' && 'code' in value;
  }
}

/** Every code, with the exit code of the command line that it leads to (1 failed, 2 wrong use). */
export const ERROR_CODES = {
  InvalidSpecification: 2,
  InvalidModel: 1,
  InvalidCheckpoint: 1,
  InvalidCalibration: 1,
  InvalidText: 1,
  UnsupportedArchitecture: 1,
  UnsupportedInput: 1,
  PlanRefused: 1,
  NonFiniteWeights: 1,
  OutputExists: 2,
  OutputUnwritable: 1,
  SourceChanged: 1,
  ArtifactMissing: 1,
  ArtifactCorrupt: 1,
  StoreFull: 1,
  StoreUnavailable: 1,
  VerificationFailed: 1,
  ServerUnavailable: 1,
  DeviceUnavailable: 1,
  DeviceOutOfMemory: 1,
  SourceUnavailable: 1,
  ModelNotFound: 1,
  AccessDenied: 1,
  WebhookFailed: 1,
  JobNotFound: 2,
  WrongUse: 2,
} as const;
export type ErrorCode = keyof typeof ERROR_CODES;
