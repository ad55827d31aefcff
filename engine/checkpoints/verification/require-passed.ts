import { QuantloomError } from '../../spec';
import type { VerificationCheck } from './check';

/** Where the findings are, and what to do about them. */
interface Verdict {
  readonly where: string;
  readonly advice: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** @throws QuantloomError VerificationFailed that lists the findings; `details.checks` has all checks. */
export function requirePassed(checks: readonly VerificationCheck[], { where, advice, details }: Verdict): void {
  const failed = checks.filter(({ findingCount }) => findingCount > 0);
  if (failed.length === 0) return;
  const total = failed.reduce((sum, { findingCount }) => sum + findingCount, 0);
  const shown = failed.flatMap(({ name, findings }) => findings.slice(0, 3).map((finding) => `[${name}] ${finding}`));
  throw new QuantloomError(
    'VerificationFailed',
    `${where}: ${total} findings. ${shown.slice(0, 6).join('; ')}. ${advice}`,
    { details: { ...details, checks } },
  );
}
